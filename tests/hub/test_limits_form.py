"""The form of limits: names without a query for each, and numbers as people write them."""

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts import keys, limit_rows, people, principals
from accounts.models import ApiKey, User
from hub.dashboard import limits_form
from inference.models import Alias, Model

PASSWORD = "correct horse battery"
KEY = {"name": "laptop", "scopes": "models:read", "team": "default", "lifetime": "0"}
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]


@pytest.fixture
def admin() -> User:
    return people.create("ada", PASSWORD, role=User.Role.ADMIN)


def test_many_keys_are_named_by_one_query(
    admin: User, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    who = principals.of_user(admin)
    for name in ("laptop", "phone", "robot"):
        key, _plaintext = keys.issue(admin, name, by=who)
        limit_rows.put(limit_rows.about(who, "key", key.public_id), {"requests_per_minute": 5})
    with django_assert_num_queries(3):  # the rows, which keys are there, their names
        found = limits_form.listing()
    assert {form.title for form in found} == {"laptop", "phone", "robot"}


def test_a_key_gets_limits_when_it_is_made(admin: User, client: Client) -> None:
    client.force_login(admin)
    page = client.post("/keys/new/", KEY | {"tokens_per_hour": "12 000"})
    assert page.status_code == 200
    assert limit_rows.of(f"key:{ApiKey.objects.get().public_id}")["tokens_per_hour"] == 12_000


def test_the_form_of_a_key_has_no_quotas(admin: User, client: Client) -> None:
    client.force_login(admin)
    key, _plaintext = keys.issue(admin, "laptop", by=principals.of_user(admin))
    page = client.get(f"/limits/of/key/{key.public_id}/").content.decode()
    assert 'name="tokens_per_hour"' in page
    assert "storage_bytes" not in page
    assert "training_minutes" not in page


def test_the_page_says_that_another_name_has_no_limits(admin: User, client: Client) -> None:
    client.force_login(admin)
    model = Model.objects.create(name="m", kind="llm", engine="fake", path="/m")
    Alias.objects.create(name="plain", target=model)
    page = client.post("/limits/save/model/plain/", {"tokens_per_hour": "5"})
    assert page.status_code == 400
    assert "This name leads to m" in page.content.decode()


@pytest.mark.parametrize(
    ("written", "n_bytes", "shown"),
    [("20 GB", 20 * 10**9, "20.0 GB"), ("1.5tb", 15 * 10**11, "1.50 TB"), ("0", 0, "0"),
     ("12345678901", 12_345_678_901, "12345678901 B"), ("", None, "")],
)  # fmt: skip
def test_storage_is_a_size_with_its_unit(
    admin: User, client: Client, written: str, n_bytes: int | None, shown: str
) -> None:
    client.force_login(admin)
    assert client.post("/limits/everyone/save/", {"storage_bytes": written}).status_code == 302
    assert limit_rows.of("everyone").get("storage_bytes") == n_bytes
    page = client.get("/limits/").content.decode()
    assert f'name="storage_bytes" inputmode="text" maxlength="24" value="{shown}"' in page


@pytest.mark.parametrize("written", ["20", "many", "20 elephants", "2000 TB"])
def test_a_size_without_a_unit_is_refused(admin: User, client: Client, written: str) -> None:
    client.force_login(admin)
    page = client.post("/limits/everyone/save/", {"storage_bytes": written})
    assert "such as 20 GB" in page.content.decode()


def test_no_key_is_made_with_a_limit_that_is_no_number(admin: User, client: Client) -> None:
    client.force_login(admin)
    page = client.post("/keys/new/", KEY | {"tokens_per_hour": "many"})
    assert page.status_code == 400
    assert "A limit is a whole number." in page.content.decode()
    assert not ApiKey.objects.exists()
