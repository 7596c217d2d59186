"""A client that sends its request headers too slowly is cut off; a slow answer is not."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hub import web
from hub.middleware import Receive, Scope, Send
from tests.hub.serving import serving


class Application:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        self.asked.set()
        await self.go_on.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
async def port(application: Application, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    monkeypatch.setattr(web, "HEADER_DEADLINE_S", 0.1)
    async with serving(application) as port:
        yield port


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET / HT"])
async def test_it_cuts_off_an_unfinished_request(port: int, start: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(start)
    async with asyncio.timeout(30):
        (end,) = await asyncio.gather(reader.read(), return_exceptions=True)
    assert end == b"" or isinstance(end, ConnectionResetError)
    writer.close()


async def test_it_leaves_a_slow_answer_alone(port: int, application: Application) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    await application.asked.wait()
    # A second connection is cut off after the deadline: by then the first is older than it.
    other, unused = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(30):
        await asyncio.gather(other.read(), return_exceptions=True)
    unused.close()
    application.go_on.set()
    assert (await reader.readline()).startswith(b"HTTP/1.1 204")
    writer.close()


async def test_it_does_not_keep_a_header_that_never_ends(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nX: ")
    async with asyncio.timeout(30):
        with pytest.raises(ConnectionError):
            await _write_for_ever(writer)


async def _write_for_ever(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"y" * 65536)
        await writer.drain()
