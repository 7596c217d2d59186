"""Bytes that are no request end the connection, and the application that had begun with them."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from hub.middleware import Receive, Scope, Send
from tests.hub.serving import serving

POST = b"POST /api/x HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
WHOLE = POST + b"Content-Length: 0\r\n\r\n"


class Application:
    """Reads its request, begins an answer where it is told to, and ends it when its client leaves."""

    def __init__(self) -> None:
        self.begins = False
        self.begun, self.left, self.ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        if self.begins:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
        self.begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        self.left.set()
        if not self.begins:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"late"})
        self.ended.set()


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
async def port(application: Application) -> AsyncIterator[int]:
    async with serving(application) as port:
        yield port


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    "sent",
    [
        POST + b"Transfer-Encoding: xchunked\r\n\r\n",
        CHUNKED + b"ZZZ\r\n",
        CHUNKED + b"1\r\na\r\nZZZ\r\n",
        WHOLE + b"no request\r\n\r\n",
        WHOLE + WHOLE + b"no request\r\n\r\n",
    ],
)
async def test_it_answers_400_once_and_the_log_stays_clean(
    port: int, application: Application, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(30):
        writer.write(sent)
        answer = await reader.read()
        await application.ended.wait()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert answer.endswith(b"}")
    assert not errors(caplog)
    writer.close()


async def test_it_writes_no_refusal_into_an_answer_that_has_begun(
    port: int, application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    application.begins = True
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(30):
        writer.write(CHUNKED)
        await application.begun.wait()
        writer.write(b"ZZZ\r\n")
        answer = await reader.read()
        await application.ended.wait()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"4\r\npart\r\n")
    assert not errors(caplog)
    writer.close()


async def test_who_leaves_ends_what_runs_also_with_a_second_request_behind_it(
    port: int, application: Application
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(30):
        writer.write(WHOLE + WHOLE)
        await application.begun.wait()
        writer.close()
        await application.left.wait()
