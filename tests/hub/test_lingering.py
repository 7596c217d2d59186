"""A connection that lingers after a refusal does so for a bounded time and amount."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hub import lingering
from hub.middleware import BodyLimit, Receive, Scope, Send
from tests.hub.serving import serving

HEAD = b"POST /api/x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"


async def reads_all(_scope: Scope, receive: Receive, _send: Send) -> None:
    while (await receive()).get("more_body"):
        pass


@pytest.fixture
async def port() -> AsyncIterator[int]:
    app = BodyLimit(reads_all, limit_bytes=1000)
    async with serving(app) as port:
        yield port


async def until_refused(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + CHUNK)
    assert (await reader.readline()).startswith(b"HTTP/1.1 413")


async def pour_for_ever(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(CHUNK)
        await writer.drain()


@pytest.mark.parametrize(("limit", "value"), [("LINGER_BYTES", 1_000_000), ("LINGER_S", 0.1)])
async def test_it_ends(
    port: int, monkeypatch: pytest.MonkeyPatch, limit: str, value: float
) -> None:
    monkeypatch.setattr(lingering, limit, value)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(60):
        await until_refused(reader, writer)
        with pytest.raises(ConnectionError):
            await pour_for_ever(writer)
