"""Every route x method x role x foreign object, by the table in `route_table`; websockets too."""

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.conf import settings as django_settings
from django.test import Client

from accounts import keys, principals, scopes
from accounts.models import Role, Team, User
from accounts.principals import Principal
from hub import scrape
from hub.asgi import application
from hub.dashboard import panels
from hub.dashboard.board import Board
from hub.dashboard.watcher import Tick
from inference import catalog, wire
from inference.api.app import ROUTES
from inference.models import Model
from tests.accounts.conftest import MakeUser, session_of
from tests.accounts.foreign import SECRET
from tests.accounts.route_table import ANYONE, API, FOREIGN, OWNERLESS, PAGES, PUBLIC, SOCKETS, V1
from tests.accounts.test_every_route import DJANGO_PATHS, socket_paths

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("idle_node")]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
TABLE = API | PAGES
NARROW = [*scopes.SCOPES]
ASKS_PASSWORD = {"/account/prove/"}  # and says 401 to a wrong one


def test_it_has_a_line_for_every_route() -> None:
    assert set(TABLE) == set(DJANGO_PATHS)
    assert set(V1) == {route.path for route in ROUTES}
    assert set(SOCKETS) == set(socket_paths())


def test_it_knows_only_scopes_that_there_are() -> None:
    lines = [*TABLE.values(), *V1.values()]
    found = {scope for line in lines for scope in line.values()} | set(SOCKETS.values())
    assert found - {PUBLIC, ANYONE} <= scopes.SCOPES.keys() | scopes.WIDE.keys()


def test_it_says_of_every_parameter_whose_it_is() -> None:
    for path in TABLE:
        if "x" in path.strip("/").split("/") or "/1/" in path:
            assert kind_of(path) or path in OWNERLESS, path


def kind_of(path: str) -> str:
    """Give the kind of object that a path names."""
    places = [place for place in FOREIGN if path == place or path.startswith(f"{place}/")]
    return FOREIGN[max(places, key=len)] if places else ""


# --- route x method x role ------------------------------------------------------------------------


@pytest.fixture
def browsers(person: MakeUser) -> dict[str, Client]:
    """Somebody of every role, and of one that holds nothing, at a browser."""
    Role.objects.create(name="nothing", scopes=[])
    found = {}
    for role in (*scopes.ROLES, "nothing"):
        found[role] = browser(person(f"is-{role}", role))
    return found


def browser(user: User) -> Client:
    """Somebody signed in, with the proof that the hub's own pages send along."""
    proof = "a" * 32
    origin = {"host": "testserver", "origin": "http://testserver"}
    client = Client(headers={"x-csrftoken": proof, **origin})
    client.force_login(user)
    client.cookies["csrftoken"] = proof
    return client


@pytest.mark.parametrize("path", [path for path in TABLE if PUBLIC not in TABLE[path].values()])
def test_each_role_passes_where_it_holds_the_scope(browsers: dict[str, Client], path: str) -> None:
    for role, client in browsers.items():
        for method in METHODS:
            needed = TABLE[path].get(method)
            status = call(client, method, path).status_code
            refused = {405} if path.startswith("/api/v1/") else {403, 405}
            if needed is None:
                assert status in refused, (role, method, status)
            elif needed == ANYONE or scopes.held(needed, held_by(role)):
                wrong = {403, 405, 500} if path in ASKS_PASSWORD else {401, 403, 405, 500}
                assert status not in wrong, (role, method, status)
            else:
                assert status == 403, (role, method, status)


def held_by(role: str) -> frozenset[str]:
    return scopes.ROLES.get(role, frozenset())


def call(client: Client, method: str, path: str, body: str = "") -> Any:
    kind = "application/json" if path.startswith("/api/") else "application/x-www-form-urlencoded"
    return client.generic(method, path, body, content_type=kind)


# --- narrow keys ----------------------------------------------------------------------------------


@pytest.fixture
def admin(person: MakeUser) -> User:
    return person("ada", "admin")


def key_with(owner: User, *wanted: str, **more: Any) -> str:
    return keys.issue(owner, "k", wanted, by=session_of(owner), **more)[1]


async def test_a_key_opens_what_its_one_scope_names(admin: User) -> None:
    every = {}
    for scope in NARROW:
        every[scope] = await sync_to_async(key_with)(admin, scope)
    async with v1() as client:
        for path, line in V1.items():
            for method, needed in line.items():
                for scope, key in every.items():
                    named = re.sub(r"\{\w+\*?\}", "x", path)
                    answer = await client.request(method, named, headers={"x-api-key": key})
                    passed = answer.status_code != 403
                    assert passed == (scope == needed), (path, scope, answer.status_code)


def v1() -> httpx.AsyncClient:
    transport = httpx.ASGITransport(application)  # type: ignore[arg-type] # scopes are plain dicts
    return httpx.AsyncClient(transport=transport, base_url="http://testserver")


def test_an_api_key_opens_what_its_scopes_name(admin: User) -> None:
    for path, line in API.items():
        for method, needed in line.items():
            if needed in {ANYONE, PUBLIC}:
                continue
            others = [scope for scope in NARROW if scope != needed]
            for asked, passes in ((needed, True), (others[0], False), (others[-1], False)):
                client = Client(headers={"x-api-key": _key(admin, asked)})
                status = call(client, method, path).status_code
                assert (status != 403) == passes, (path, method, asked, status)


_keys: dict[tuple[int, str], str] = {}


def _key(owner: User, scope: str) -> str:
    """One key for each scope is enough."""
    slot = (owner.pk, scope)
    found = owner.api_keys.filter(name=scope).first()
    if found is None:
        _keys[slot] = keys.issue(owner, scope, [scope], by=session_of(owner))[1]
    return _keys[slot]


# --- foreign objects ------------------------------------------------------------------------------


def named(path: str, name: str) -> str:
    """Put a name where the path has its sample."""
    place = max((p for p in FOREIGN if path == p or path.startswith(f"{p}/")), key=len)
    tail = "x/y" if place.endswith("x/y") else place[-1]
    return place[: -len(tail)] + name + path[len(place) :]


@pytest.mark.parametrize("path", [path for path in TABLE if kind_of(path)])
def test_what_belongs_to_others_is_not_there(
    foreign: dict[str, str], outsider: User, path: str
) -> None:
    client = browser(outsider)
    kind = kind_of(path)
    for method, needed in TABLE[path].items():
        if needed in {"admin:teams", "admin:users"}:
            continue
        body = "{}" if path.startswith("/api/") else ""
        answer = call(client, method, named(path, foreign[kind]), body)
        nobody = call(client, method, named(path, "99" if kind == "visit" else "no-such"), body)
        assert answer.status_code == nobody.status_code == 404, (method, answer.status_code)
        if path.startswith("/api/"):
            text = answer.content.decode().replace(foreign[kind], "no-such")
            assert text == nobody.content.decode()


# The audit log is of the whole hub: who may read it reads every name.
SHOWN = [
    path
    for path, line in TABLE.items()
    if line.get("GET", "admin:audit") != "admin:audit" and "x" not in path.split("/")
]


@pytest.mark.parametrize("path", SHOWN)
def test_no_list_or_page_names_what_belongs_to_others(
    foreign: dict[str, str], outsider: User, path: str
) -> None:
    client = browser(outsider)
    answer: Any = client.get(path)
    body = b"".join(answer) if answer.streaming else answer.content
    assert SECRET.encode() not in body
    insider = browser(User.objects.get(username=f"{SECRET}-owner"))
    if path in {"/models/", "/aliases/", "/keys/", "/access/teams/", "/api/v1/models"}:
        assert SECRET in insider.get(path).content.decode()


def test_the_page_of_a_base_names_no_hidden_child(foreign: dict[str, str], outsider: User) -> None:
    base = Model.objects.create(name="base", kind="llm", engine="fake", path="/b")
    Model.objects.filter(name=foreign["model"]).update(base=base)
    Model.objects.filter(name=f"{SECRET}-upload").update(variant_of=base)
    insider = User.objects.get(username=f"{SECRET}-owner")
    for path in ("/models/about/base/", "/api/v1/models/base"):
        answer = browser(outsider).get(path)
        assert answer.status_code == 200
        assert SECRET not in answer.content.decode()
    page = browser(insider).get("/models/about/base/").content.decode()
    assert {SECRET, f"{SECRET}-upload"} <= set(re.findall(r">([\w-]+)</a>", page))


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/aliases", {"name": "n", "targets": [{"model": SECRET}]}),
        ("/api/v1/models/add", {"source": "adapter", "name": "n", "base": SECRET, "path": "/m"}),
        ("/api/v1/models/add", {"source": "variant", "name": "n", "of": SECRET}),
        ("/api/v1/models/add", {"source": "local", "name": "n", "path": "/m", "team": SECRET}),
        ("/api/v1/uploads", {"name": "n", "base": SECRET, "files": []}),
        ("/api/v1/service_accounts", {"name": "n", "team": f"{SECRET}-team"}),
    ],
)
@pytest.mark.usefixtures("foreign")
def test_nor_is_it_there_inside_a_body(outsider: User, path: str, body: dict[str, Any]) -> None:
    client = browser(outsider)
    answer = call(client, "POST", path, json.dumps(body))
    nobody = call(client, "POST", path, json.dumps(body).replace(SECRET, "no-such"))
    assert answer.status_code == nobody.status_code == 404
    assert answer.content.decode().replace(SECRET, "no-such") == nobody.content.decode()


@pytest.mark.usefixtures("foreign")
def test_a_key_cannot_be_bound_to_it(outsider: User) -> None:
    client = browser(outsider)
    for field, value in (("team", f"{SECRET}-team"), ("models", [SECRET])):
        body = {"name": "n", field: value}
        answer = call(client, "POST", "/api/v1/keys", json.dumps(body))
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == field


POSTED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}]},
    "/v1/completions": {"prompt": "x"},
    "/v1/embeddings": {"input": "x"},
}


async def test_v1_says_the_same_of_it_as_of_no_model(
    foreign: dict[str, str], outsider: User
) -> None:
    key = await sync_to_async(key_with)(outsider, "inference", "models:read")
    await sync_to_async(catalog._store.forget)()
    async with v1() as client:
        client.headers["x-api-key"] = key
        for name in (SECRET, foreign["alias"]):
            for path, rest in POSTED.items():
                told = await client.post(path, json={"model": name, **rest})
                nobody = await client.post(path, json={"model": "no-such", **rest})
                assert told.status_code == nobody.status_code == 404
                assert told.text.replace(name, "no-such") == nobody.text
            assert (await client.get(f"/v1/models/{name}")).status_code == 404
        assert SECRET not in (await client.get("/v1/models")).text
        client.headers["x-api-key"] = await sync_to_async(_insiders_key)()
        assert SECRET in (await client.get("/v1/models")).text
        assert (await client.get(f"/v1/models/{SECRET}")).status_code == 200


def _insiders_key() -> str:
    owner = User.objects.get(username=f"{SECRET}-owner")
    return key_with(owner, "models:read", team=Team.objects.get(name=f"{SECRET}-team"))


# --- websockets -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SOCKETS)
async def test_a_websocket_opens_for_who_holds_its_scope(person: MakeUser, path: str) -> None:
    await sync_to_async(Role.objects.create)(name="blind", scopes=["models:read"])
    for role in (*scopes.ROLES, "blind"):
        client = Client()
        user = await sync_to_async(person)(f"is-{role}", role)
        await sync_to_async(client.force_login)(user)
        cookie = client.cookies[django_settings.SESSION_COOKIE_NAME].value
        headers = [
            (b"host", b"testserver"),
            (b"origin", b"http://testserver"),
            (b"cookie", f"{django_settings.SESSION_COOKIE_NAME}={cookie}".encode()),
        ]
        socket = WebsocketCommunicator(application, path, headers)
        connected, _ = await socket.connect()
        await socket.disconnect()
        assert connected == scopes.held(SOCKETS[path], held_by(role)), role


def snapshot() -> wire.Snapshot:
    status = wire.ModelStatus(
        name=SECRET, version="1", state="ready", kind="llm", engine="fake", memory_bytes=10
    )
    decision = wire.Decision(at=1.0, action="load", model=SECRET, reason=f"{SECRET} was asked for")
    waiting = wire.Waiting(model=SECRET, position=1, age_s=1.0, reason=f"waits for {SECRET}.")
    device = wire.DeviceInfo(
        name="cpu", label="CPU", total_bytes=100, limit_bytes=100, used_bytes=10
    )
    return wire.Snapshot(
        at=1.0, devices=[device], models=[status], decisions=[decision], queue=[waiting]
    )


def shown_to(who: Principal) -> Iterator[str]:
    board = Board(Tick(number=1, snapshot=snapshot()), who)
    for panel in panels.allowed([*panels.PANELS], who):
        yield panels.render_push(panel, board, who, "en")


@pytest.mark.usefixtures("foreign")
def test_no_panel_names_what_belongs_to_others(outsider: User) -> None:
    assert SECRET not in "".join(shown_to(principals.of_user(outsider)))
    owner = User.objects.get(username=f"{SECRET}-owner")
    assert SECRET in "".join(shown_to(principals.of_user(owner)))


@pytest.mark.usefixtures("foreign")
def test_no_metric_names_what_belongs_to_others(outsider: User) -> None:
    every = scrape.exposition(snapshot())
    catalog._store.forget()
    hidden = catalog.hidden_now(principals.of_user(outsider))
    assert SECRET.encode() in every
    assert SECRET.encode() not in scrape.without(every, hidden)
    assert b"hub_" in scrape.without(every, hidden)
