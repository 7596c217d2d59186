"""A warm request asks the database nothing: not to know who asks, not for limits, not to note its use."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.db.backends.utils import CursorWrapper
from pytest_django import Settings

from accounts import keys, ledger
from accounts.ledger import Ledger
from accounts.models import Limit
from accounts.spool import Spool
from inference import catalog, wire
from inference.api.app import application
from inference.models import Model
from tests.accounts.conftest import MakeUser, session_of
from tests.inference.scripted_node import Line, scripted

BODY = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}


async def ask(key: str) -> int:
    """Send one request through the application and give its status."""
    messages = [{"type": "http.request", "body": json.dumps(BODY).encode(), "more_body": False}]
    statuses: list[int] = []

    async def receive() -> Any:
        if not messages:
            await asyncio.Event().wait()  # a client that stays
        return messages.pop()

    async def send(message: Any) -> None:
        statuses.extend([message["status"]] if "status" in message else [])

    headers = [(b"x-api-key", key.encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers}
    await application(scope, receive, send)
    return statuses[0] if statuses else 0


@pytest.mark.django_db(transaction=True)
async def test_it_makes_no_query(person: MakeUser, settings: Settings, tmp_path: Path) -> None:
    settings.HUB_NODE_ADDRESS = f"unix:{tmp_path}/n"
    held = Ledger(Spool(tmp_path / "usage"))
    held._thread = threading.current_thread()  # it brings nothing by itself
    key = await asyncio.to_thread(make, person)

    async def answer(line: Line, _question: wire.Any) -> None:
        await line.send(wire.Delta(text="x", finish_reason="stop"), wire.Done())

    queries: list[str] = []

    def noting(_self: Any, sql: str, _params: Any = None) -> None:
        queries.append(sql)
        raise AssertionError(sql)

    async with scripted(tmp_path / "n", answer) as node:
        with mock.patch.object(ledger, "of_process", return_value=held):
            assert await ask(key) == 200
            with mock.patch.object(CursorWrapper, "execute", noting):
                assert [await ask(key) for _ in range(5)] == [200] * 5
        assert len(node.submitted) == 6
    assert queries == []
    assert len(held.spool.waiting) == 0
    held.spool.seal()
    assert len(held.spool.waiting) == 1


def make(person: MakeUser) -> str:
    user = person()
    Model.objects.create(name="chat", kind="llm", engine="fake", path="/m")
    Limit.objects.create(subject="model:chat", requests_per_minute=100)
    catalog.invalidate()
    return keys.issue(user, "k", by=session_of(user))[1]
