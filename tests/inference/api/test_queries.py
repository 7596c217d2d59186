"""A warm request makes no database query: the application is called here, in this process."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from pytest_django import Settings

from accounts import keys, principals
from accounts.models import User
from inference import catalog, wire
from inference.api.app import application
from inference.models import Alias, Model
from tests.inference.api.conftest import chat, says
from tests.inference.scripted_node import scripted

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]


@pytest.fixture
def key() -> str:
    owner = User.objects.create(username="warm", role="developer")
    model = Model.objects.create(name="chat", kind="llm", engine="fake", path="/m/chat")
    targets = [{"model": "chat", "weight": 1}, {"model": "gone", "weight": 1}]
    Alias.objects.create(
        name="route", target=model, targets=targets, sticky=True, defaults={"seed": 1}
    )
    catalog.invalidate()
    return keys.issue(owner, "k", by=principals.of_user(owner))[1]


@pytest.fixture
async def _node(settings: Settings) -> AsyncIterator[None]:
    with tempfile.TemporaryDirectory(prefix="node-") as folder:
        path = Path(folder) / "node.sock"
        settings.HUB_NODE_ADDRESS = f"unix:{path}"
        async with scripted(path, says(wire.Delta(text="x", finish_reason="stop"), wire.Done())):
            yield


async def post(key: str, body: dict[str, Any]) -> tuple[int, bytes]:
    """Call the application as a server would."""
    sent: list[dict[str, Any]] = []
    arriving = [{"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        return arriving.pop() if arriving else await asyncio.Future()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [
        (b"authorization", f"Bearer {key}".encode()),
        (b"content-type", b"application/json"),
    ]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers}
    await application(scope | {"client": ("127.0.0.1", 1)}, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


@pytest.fixture
def queries() -> Iterator[list[str]]:
    """Every query of every thread: connections are watched from the moment they open."""
    made: list[str] = []

    def note(execute: Any, sql: str, *rest: Any) -> Any:
        made.append(sql)
        return execute(sql, *rest)

    def watch(connection: BaseDatabaseWrapper, **_: object) -> None:
        if note not in connection.execute_wrappers:
            connection.execute_wrappers.append(note)

    connection_created.connect(watch)
    yield made
    connection_created.disconnect(watch)
    for opened in connections.all():
        if note in opened.execute_wrappers:
            opened.execute_wrappers.remove(note)


# A Redis that is slow on a busy machine ends a remembered right after a second, as it must.
TRIES = 5


@pytest.mark.usefixtures("_node")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["chat", "route"])
async def test_a_warm_request_makes_no_query(
    key: str, queries: list[str], stream: bool, name: str
) -> None:
    status, _ = await post(key, chat(model=name, stream=stream))
    assert status == 200
    assert any("accounts_apikey" in sql for sql in queries)
    for _ in range(TRIES):
        queries.clear()
        for _ in range(3):
            status, body = await post(key, chat(model=name, stream=stream))
            assert status == 200
            assert b'"x"' in body
        if not queries:
            break
    assert queries == []
