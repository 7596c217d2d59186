"""What belongs to other teams is not there under /v1 either: in paths, bodies, queries, on sockets."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator
from django.utils import timezone

from accounts import keys, principals
from accounts.models import Team, User
from hub.asgi import application
from hub.dashboard.job_live import NOT_THERE
from inference import catalog
from inference.api.app import ROUTES
from tests.accounts.foreign import SECRET
from tests.accounts.route_table import FOREIGN_SOCKETS, FOREIGN_V1, NAMED_V1, SOCKETS, V1
from training import files, parts, store
from training.models import FileUpload

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("idle_node")]
PARAMETER = re.compile(r"\{([\w*]+)\}")
NESTED = [(route, field) for route, fields in NAMED_V1.items() for field in fields]
AUDIO = ("a.wav", b"RIFF", "audio/wav")
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}]},
    "/v1/completions": {"prompt": "x"},
    "/v1/embeddings": {"input": "x"},
    "/v1/classify": {"input": [{"text": "x"}], "labels": ["a", "b"]},
}


def test_the_table_names_every_parameter_and_every_route() -> None:
    used = {name for route in ROUTES for name in PARAMETER.findall(route.path)}
    assert used == set(FOREIGN_V1)
    verbs = {f"{method} {route.path}" for route in ROUTES for method in route.actions}
    assert verbs == set(NAMED_V1)
    assert {path for path in SOCKETS if "x" in path.split("/")} == set(FOREIGN_SOCKETS)


# --- in paths -------------------------------------------------------------------------------------


@pytest.fixture
async def client(foreign: dict[str, str], outsider: User) -> AsyncIterator[httpx.AsyncClient]:
    """The outsider, with a key that holds all that they hold."""
    assert foreign
    key = await sync_to_async(_key)(outsider)
    await sync_to_async(catalog._store.forget)()
    transport = httpx.ASGITransport(application)  # type: ignore[arg-type] # scopes are plain dicts
    headers = {"x-api-key": key}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://testserver", headers=headers
    ) as opened:
        yield opened


def _key(owner: User, team: Team | None = None) -> str:
    by = principals.of_user(owner)
    return keys.issue(owner, "k", sorted(owner.scopes), by=by, team=team)[1]


def filled(path: str, name: str) -> str:
    return PARAMETER.sub(name, path)


PLACES = [(path, method) for path, line in V1.items() for method in line if PARAMETER.search(path)]


@pytest.mark.parametrize(("path", "method"), PLACES)
async def test_a_path_tells_nothing_of_it(
    client: httpx.AsyncClient, foreign: dict[str, str], path: str, method: str
) -> None:
    name = foreign[FOREIGN_V1[PARAMETER.findall(path)[0]]]
    told, nobody = [
        await client.request(method, filled(path, one), **_content(path))
        for one in (name, "no-such")
    ]
    assert told.status_code == nobody.status_code == 404
    assert told.text.replace(name, "no-such") == nobody.text


def _content(path: str) -> dict[str, Any]:
    """Give a request that is right but for the name."""
    if path.endswith("/parts"):
        return {"files": {"data": ("part", b"x", "application/octet-stream")}}
    return {"json": {"part_ids": ["part_x"]}} if path.endswith("/complete") else {}


# --- in bodies and queries ------------------------------------------------------------------------


@pytest.fixture
def own(outsider: User) -> dict[str, str]:
    """Files of the outsider's own, so that only the foreign name is wrong."""
    who = principals.of_user(outsider)
    with store.Incoming() as incoming:
        incoming.write(b'{"messages": []}\n')
        file = files.take(incoming, who, "own.jsonl", "fine-tune")
    upload = FileUpload.objects.create(
        owner=outsider,
        filename="own.jsonl",
        purpose="fine-tune",
        size_bytes=1,
        expires_at=timezone.now() + parts.KEPT,
        team=outsider.team,
    )
    return {"file": file.pk, "upload": upload.pk}


@pytest.mark.parametrize(("route", "field"), NESTED)
async def test_a_field_tells_nothing_of_it(
    client: httpx.AsyncClient, foreign: dict[str, str], own: dict[str, str], route: str, field: str
) -> None:
    method, path = route.split()
    name = foreign[NAMED_V1[route][field]]
    told, nobody = [
        await client.request(method, filled(path, own["upload"]), **_naming(path, field, one, own))
        for one in (name, "no-such")
    ]
    assert told.status_code == nobody.status_code
    assert told.status_code in {400, 404}
    assert told.text.replace(name, "no-such") == nobody.text
    assert "no-such" in nobody.text or field == "part_ids", nobody.text


def _naming(path: str, field: str, name: str, own: dict[str, str]) -> dict[str, Any]:
    if field == "after":
        return {"params": {"after": name}}
    if "/audio/" in path:
        return {"data": {"model": name}, "files": {"file": AUDIO}}
    if path.endswith("/complete"):
        return {"json": {"part_ids": [name]}}
    rest = BODIES.get(path, {"model": "m", "training_file": own["file"]})
    return {"json": {**rest, field: name}}


# --- on websockets --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", FOREIGN_SOCKETS)
async def test_a_websocket_tells_nothing_of_it(
    foreign: dict[str, str], outsider: User, path: str
) -> None:
    key = await sync_to_async(_key)(outsider)
    name = foreign[FOREIGN_SOCKETS[path]]
    told = await _closing(path.replace("/x/", f"/{name}/"), key)
    nobody = await _closing(path.replace("/x/", "/no-such/"), key)
    assert told["code"] == nobody["code"] == NOT_THERE
    assert json.dumps(told).replace(name, "no-such") == json.dumps(nobody)
    insider = await User.objects.aget(username=f"{SECRET}-owner")
    red = await Team.objects.aget(name=f"{SECRET}-team")
    theirs = await sync_to_async(_key)(insider, red)
    shown = await _first(path.replace("/x/", f"/{name}/"), theirs)
    assert shown["type"] == "websocket.send"


async def _closing(path: str, key: str) -> dict[str, Any]:
    said = await _first(path, key)
    assert said["type"] == "websocket.close", said
    return said


async def _first(path: str, key: str) -> dict[str, Any]:
    headers = [
        (b"host", b"testserver"),
        (b"origin", b"http://testserver"),
        (b"x-api-key", key.encode()),
    ]
    socket = WebsocketCommunicator(application, path, headers)
    assert (await socket.connect(timeout=60))[0]
    said: dict[str, Any] = await socket.receive_output(timeout=60)
    await socket.disconnect()
    return said
