"""A body that stops, or comes a byte now and then, holds a connection for a while and no longer."""

import asyncio
from typing import Any

import pytest

from hub import middleware
from hub.middleware import BodyLimit, Message, Receive, Scope, Send

POST: Scope = {"type": "http", "method": "POST", "path": "/api/v1/keys", "headers": []}


async def reading(_scope: Scope, receive: Receive, send: Send) -> None:
    """Read all of the body, then answer."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 204, "headers": []})


async def trickle() -> Message:
    """Give a byte now and then, for ever."""
    await asyncio.sleep(0.01)
    return {"type": "http.request", "body": b"a", "more_body": True}


async def silence() -> Message:
    return await asyncio.get_running_loop().create_future()


async def status_of(receive: Receive) -> int:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async with asyncio.timeout(30):
        await BodyLimit(reading, 10**6)(POST, receive, send)
    return int(sent[0]["status"])


async def test_one_that_comes_too_slowly_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "BODY_DEADLINE_S", 0.2)
    assert await status_of(trickle) == 408


async def test_one_that_stops_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "BODY_STALL_S", 0.05)
    assert await status_of(silence) == 408


async def test_one_that_ends_is_taken() -> None:
    pieces = iter([{"body": b"a", "more_body": True}, {"body": b"b", "more_body": False}])

    async def receive() -> Message:
        return next(pieces)

    assert await status_of(receive) == 204
