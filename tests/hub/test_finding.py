"""Finding a model to add, in the pages: the hub's search, and what another server serves."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import people
from accounts.models import User
from inference.models import Model
from tests.accounts.test_limits_api import with_key
from tests.inference import hub_server, tiny_files
from tests.inference.hub_server import Behaviour
from tests.inference.test_upstreams import KEY, serving

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]
PASSWORD = "a long enough pass phrase 7"


@pytest.fixture
def client(settings: Settings) -> Client:
    settings.HUB_PRIVATE_UPSTREAMS = True
    client = Client()
    client.force_login(people.create("ada", PASSWORD, role=User.Role.ADMIN))
    return client


@pytest.fixture
def hub(settings: Settings) -> Iterator[Behaviour]:
    about: dict[str, dict[str, object]] = {"org/<b>tiny</b>": {"downloads": 5, "gated": "auto"}}
    with hub_server.serving(Behaviour({"org/<b>tiny</b>": {}}, about=about)) as started:
        settings.HUB_HF_ENDPOINT = started.url
        yield started


def fields(url: str, **more: str) -> dict[str, str]:
    return {"base_url": url, "api_key": KEY, "upstream_model": "a", **more}


def test_the_hub_is_searched_and_believed_nothing(client: Client, hub: Behaviour) -> None:
    page = client.get("/models/add/hub/search/", {"q": "tiny"}).content.decode()
    assert "org/&lt;b&gt;tiny&lt;/b&gt;" in page
    assert "needs a token" in page
    assert "knows no model like" in client.get("/models/add/hub/search/?q=ghost").content.decode()
    hub.no_search = True
    assert "cannot be searched" in client.get("/models/add/hub/search/?q=tiny").content.decode()


def test_other_weights_are_offered_and_taken(client: Client, hub: Behaviour) -> None:
    files = tiny_files.files()
    tensors = files["other.safetensors"] = files["model.safetensors"]
    hub.models["org/two"] = {**files, "deep/more.safetensors": tensors}
    asked = {"model_id": "org/two", "files": "model.safetensors", "act": "look"}
    page = client.post("/models/add/hub/", asked).content.decode()
    assert "2 other files of weights are there" in page
    assert 'name="files" value="other.safetensors"' in page
    page = client.post("/models/add/hub/", {**asked, "files": "other.safetensors"}).content.decode()
    assert 'name="files" value="model.safetensors"' in page
    assert 'value="other.safetensors" placeholder' in page


def test_a_developer_searches_nothing(hub: Behaviour) -> None:
    client = Client()
    client.force_login(people.create("dora", PASSWORD, role=User.Role.DEVELOPER))
    assert client.get("/models/add/hub/search/?q=tiny").status_code == 403
    assert client.post("/models/add/server/models/", {}).status_code == 403
    assert hub.searches == []


def test_a_server_is_asked_for_its_models(client: Client) -> None:
    with serving(key=KEY) as url:
        page = client.post("/models/add/server/models/", fields(url)).content.decode()
        assert "serves 2 models" in page
        assert "<option selected>a</option><option>b</option>" in page
        assert KEY not in page
        refused = client.post("/models/add/server/models/", fields(url, api_key="wrong"))
        assert "refuses this key" in refused.content.decode()


def test_a_server_is_asked_before_its_model_is_added(client: Client) -> None:
    with serving(key=KEY) as url:
        ghost = fields(url, upstream_model="ghost", name="far", act="add")
        refused = client.post("/models/add/server/", ghost)
        assert refused.status_code == 400
        assert "has no ghost; it has a, b" in refused.content.decode()
        assert KEY not in refused.content.decode()
        assert not Model.objects.filter(name="far").exists()
        assert client.post("/models/add/server/", {**ghost, "unchecked": "yes"}).status_code == 302
        assert client.post("/models/add/server/", fields(url, act="add")).status_code == 302
    assert {*Model.objects.values_list("name", flat=True)} == {"far", "a"}


# --- the same by API ------------------------------------------------------------------------------


@pytest.fixture
def api(settings: Settings) -> Client:
    settings.HUB_PRIVATE_UPSTREAMS = True
    return with_key(people.create("eva", PASSWORD, role=User.Role.ADMIN), "models:write")


def test_the_api_searches_the_hub(api: Client, hub: Behaviour) -> None:
    (hit,) = api.get("/api/v1/models/search", {"q": "tiny"}).json()
    assert (hit["model_id"], hit["downloads"], hit["is_gated"]) == ("org/<b>tiny</b>", 5, True)
    assert (hit["size_bytes"], hit["fit"]) == (0, None)
    assert api.get("/api/v1/models/search", {"q": "ghost"}).json() == []
    for wrong in ({}, {"q": ""}, {"q": "x" * 101}, {"q": "a", "limit": "5"}):
        assert api.get("/api/v1/models/search", wrong).status_code == 400
    hub.no_search = True
    answer = api.get("/api/v1/models/search", {"q": "tiny"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "service_unavailable")


def test_the_api_asks_a_server_for_its_models(api: Client) -> None:
    def asked(**body: object) -> tuple[int, Any]:
        to = "/api/v1/models/upstream"
        answer = api.post(to, body, content_type="application/json")
        assert KEY not in answer.content.decode()
        return answer.status_code, answer.json()

    with serving(key=KEY) as url:
        assert asked(base_url=url, api_key=KEY) == (200, {"models": ["a", "b"]})
        status, answer = asked(base_url=url, api_key="sk-wrong")
        assert (status, answer["error"]["param"]) == (400, "api_key")
    with serving(status=404) as url:
        assert asked(base_url=url) == (200, {"models": None})
    status, answer = asked(base_url="http://127.0.0.1:9/v1")
    assert (status, answer["error"]["param"]) == (400, "base_url")
    assert asked(base_url="file:///etc/passwd")[0] == 400
    assert asked(base_url=1)[0] == 400
    assert asked(base_url=url, keep=True)[0] == 400


def test_the_api_asks_no_private_server_for_whoever_asks(api: Client, settings: Settings) -> None:
    settings.HUB_PRIVATE_UPSTREAMS = False
    with serving() as url:
        answer = api.post(
            "/api/v1/models/upstream", {"base_url": url}, content_type="application/json"
        )
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "base_url")


def test_a_key_that_only_reads_searches_nothing(hub: Behaviour) -> None:
    reader = with_key(people.create("eva", PASSWORD, role=User.Role.ADMIN), "models:read")
    assert reader.get("/api/v1/models/search?q=tiny").status_code == 403
    assert reader.post("/api/v1/models/upstream", {}).status_code == 403
    assert hub.searches == []
