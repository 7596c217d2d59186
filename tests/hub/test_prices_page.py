"""The page of prices: read by whoever sees use, changed by whoever keeps the hub."""

from decimal import Decimal

import pytest
from django.test import Client

from accounts import people, prices
from accounts.models import Price, User
from inference.models import Alias, Model

PASSWORD = "correct horse battery"
FIELDS = {"model": "m", "prompt": "0,15", "cached": "", "completion": "0.6"}
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]


@pytest.fixture(autouse=True)
def _model() -> None:
    Model.objects.create(name="m", kind="llm", engine="fake", path="/nowhere")


@pytest.fixture
def admin(client: Client) -> User:
    user = people.create("ada", PASSWORD, role=User.Role.ADMIN)
    client.force_login(user)
    return user


@pytest.mark.usefixtures("admin")
def test_a_price_is_set_shown_changed_and_removed(client: Client) -> None:
    assert "No model has a price" in client.get("/usage/prices/").content.decode()
    assert client.post("/usage/prices/save/", FIELDS).status_code == 302
    price = Price.objects.get()
    assert (price.prompt, price.cached, price.completion) == (
        Decimal("0.15"), Decimal("0.15"), Decimal("0.6"),
    )  # fmt: skip
    page = client.get("/usage/prices/?model=m").content.decode()
    assert "1 model has a price" in page
    assert 'value="0.15"' in page
    assert client.post("/usage/prices/remove/m/").status_code == 302
    assert not Price.objects.exists()
    assert client.post("/usage/prices/remove/m/").status_code == 404


@pytest.mark.usefixtures("admin")
@pytest.mark.parametrize(
    ("field", "text"),
    [("model", "<none>"), ("prompt", "free"), ("prompt", "-1"), ("cached", "NaN"),
     ("completion", "1e9"), ("completion", "0.1234567"), ("completion", "")],
)  # fmt: skip
def test_what_is_no_price_is_said_at_its_field(client: Client, field: str, text: str) -> None:
    page = client.post("/usage/prices/save/", FIELDS | {field: text})
    assert page.status_code == 400
    assert f'id="price-{field}-error"' in page.content.decode()
    assert "<none>" not in page.content.decode()
    assert not Price.objects.exists()


@pytest.mark.usefixtures("admin")
def test_another_name_of_a_model_has_no_price_and_the_page_says_whose_it_is(client: Client) -> None:
    Alias.objects.create(name="gpt-4o", target=Model.objects.get(name="m"))
    page = client.post("/usage/prices/save/", FIELDS | {"model": "gpt-4o"})
    assert page.status_code == 400
    assert "gpt-4o leads to m: give what it leads to a price." in page.content.decode()
    assert '<option value="m">' in page.content.decode()
    assert '<option value="gpt-4o">' not in page.content.decode()
    assert not Price.objects.exists()


def test_others_see_it_and_change_nothing(client: Client) -> None:
    prices.put("m", dict.fromkeys(prices.KINDS, Decimal(1)))
    client.force_login(people.create("vic", PASSWORD, role=User.Role.VIEWER))
    page = client.get("/usage/prices/").content.decode()
    assert "1 model has a price" in page
    assert "price-model" not in page
    assert client.post("/usage/prices/save/", FIELDS).status_code == 403
