"""Bodies that are too large, too slow, or never wanted: refused at once, and nothing is kept of them."""

import asyncio
import json
import re
import socket
import time
import uuid

import httpx
import psutil
import pytest

from inference import wire
from tests import servers
from tests.inference.api.conftest import Nodes, chat
from tests.inference.api.envelopes import POSTS, check_envelope
from tests.inference.scripted_node import Line

CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


class Raw:
    """A connection without a client library's good manners."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def head(self, key: str | None, *lines: str, path: str = "/v1/chat/completions") -> None:
        fields = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *lines]
        if key:
            fields.append(f"Authorization: Bearer {key}")
        self.writer.write(("\r\n".join(fields) + "\r\n\r\n").encode())

    async def pour(self, piece: bytes, most_bytes: int) -> int:
        """Write until the other side refuses; return how much it took."""
        sent = 0
        try:
            while sent < most_bytes and not self.reader.at_eof():
                self.writer.write(piece)
                await asyncio.wait_for(self.writer.drain(), 5)
                sent += len(piece)
        except (ConnectionError, TimeoutError):
            pass
        return sent

    async def answer(self) -> str:
        """Read one whole answer, which says its length, and no more."""
        try:
            async with asyncio.timeout(10):
                head = await self.reader.readuntil(b"\r\n\r\n")
                length = int(re.findall(rb"content-length: (\d+)", head.lower())[0])
                return (head + await self.reader.readexactly(length)).decode()
        except (ConnectionError, asyncio.IncompleteReadError):
            return ""


async def connect(web: servers.Hub) -> Raw:
    return Raw(*await asyncio.open_connection("127.0.0.1", web.port))


def memory_bytes(web: servers.Hub) -> int:
    return int(psutil.Process(web.processes["web"].pid).memory_info().rss)


GIGABYTE = 1 << 30
PIECE = b"x" * (1 << 20)


@pytest.mark.parametrize("keyed", [False, True])
async def test_a_gigabyte_is_refused_at_once(web: servers.Hub, keyed: bool) -> None:
    before = memory_bytes(web)
    raw = await connect(web)
    raw.head(web.key if keyed else None, f"Content-Length: {GIGABYTE}")
    answer = await raw.answer()
    assert answer.startswith("HTTP/1.1 413" if keyed else "HTTP/1.1 401")
    assert "connection: close" in answer.lower()
    assert await raw.pour(PIECE, GIGABYTE) < GIGABYTE // 8
    assert memory_bytes(web) - before < 20_000_000


@pytest.mark.parametrize("keyed", [False, True])
async def test_endless_chunks_are_refused(web: servers.Hub, keyed: bool) -> None:
    before = memory_bytes(web)
    raw = await connect(web)
    raw.head(web.key if keyed else None, "Transfer-Encoding: chunked")
    chunk = b"%x\r\n%s\r\n" % (len(PIECE), PIECE)
    assert await raw.pour(chunk, GIGABYTE // 8) >= GIGABYTE // 8  # it is read and thrown away
    answer = await raw.answer()
    assert answer.startswith("HTTP/1.1 413" if keyed else "HTTP/1.1 401")
    assert memory_bytes(web) - before < 80_000_000


async def test_a_small_refused_body_keeps_the_connection(client: httpx.AsyncClient) -> None:
    answer = await client.post("/nowhere", content=b"x" * 1000)
    assert answer.status_code == 404
    assert answer.headers.get("connection", "keep-alive") == "keep-alive"


async def test_a_body_that_is_cut_short_is_let_go(
    web: servers.Hub, client: httpx.AsyncClient
) -> None:
    raw = await connect(web)
    raw.head(web.key, "Content-Length: 100")
    raw.writer.write(b"{")
    raw.writer.close()
    await raw.writer.wait_closed()
    assert (await client.get("/models")).status_code == 200
    assert "Exception in ASGI" not in web.log("web")


async def test_a_client_that_leaves_closes_the_line(client: httpx.AsyncClient, node: Nodes) -> None:
    async def talks(line: Line, _question: wire.Any) -> None:
        while not line.closed.is_set():
            await line.send(wire.Delta(text="x", tokens=1))
            await asyncio.sleep(0.001)

    async with node(talks) as started:
        async with client.stream("POST", "/chat/completions", json=chat(stream=True)) as answer:
            await anext(answer.aiter_lines())
            line = next(line for line in started.lines if not line.closed.is_set())
        await asyncio.wait_for(line.closed.wait(), 2)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_while_it_waits_closes_the_line(
    web: servers.Hub, node: Nodes, stream: bool
) -> None:
    asked = asyncio.Event()
    lines: list[Line] = []

    async def silent(line: Line, _question: wire.Any) -> None:
        lines.append(line)
        asked.set()
        await line.closed.wait()

    async with node(silent):
        raw = await connect(web)
        body = json.dumps(chat(stream=stream)).encode()
        raw.head(web.key, f"Content-Length: {len(body)}")
        raw.writer.write(body)
        await asyncio.wait_for(asked.wait(), 10)
        raw.writer.close()
        await asyncio.wait_for(lines[0].closed.wait(), 2)


async def test_a_client_that_does_not_read_holds_back_the_node(
    web: servers.Hub, node: Nodes
) -> None:
    sent = 0
    blocked = asyncio.Event()

    async def floods(line: Line, _question: wire.Any) -> None:
        nonlocal sent
        for _ in range(200_000):
            sent += 1
            try:
                async with asyncio.timeout(2):
                    await line.send(wire.Delta(text="x" * 1000))
            except TimeoutError:
                blocked.set()
                return

    before = memory_bytes(web)
    async with node(floods):
        raw = await connect(web)
        body = json.dumps(chat(stream=True)).encode()
        raw.head(web.key, f"Content-Length: {len(body)}")
        raw.writer.write(body)
        await asyncio.wait_for(blocked.wait(), 60)
        assert sent < 100_000
        assert memory_bytes(web) - before < 50_000_000
        raw.writer.close()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/login/", "/api/v1/keys"])
@pytest.mark.parametrize("end", [b"Transfer-Encoding: xchunked\r\n\r\n", CHUNKED + b"ZZZ\r\n"])
def test_strangers_can_put_no_traceback_into_the_log(
    web: servers.Hub, path: str, end: bytes
) -> None:
    name = f"bad-{uuid.uuid4().hex}"
    before = len(web.log("web"))
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Request-Id: {name}\r\n".encode()
    with socket.create_connection(("127.0.0.1", web.port), timeout=30) as line:
        line.sendall(head + end)
        while line.recv(65536):
            pass
    while name not in (log := web.log("web")[before:]):
        time.sleep(0.02)
    assert "Traceback" not in log
    assert "Exception in ASGI" not in log


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("coding", ["gzip", "deflate, br"])
async def test_it_reads_no_coded_body(client: httpx.AsyncClient, path: str, coding: str) -> None:
    kind = "multipart/form-data; boundary=x" if "audio" in path else "application/json"
    headers = {"content-encoding": coding, "content-type": kind}
    answer = await client.post(path, content=b"\x1f\x8b", headers=headers)
    error = check_envelope(answer, 415, "unsupported_media_type")
    assert error["param"] == "content-encoding"
    assert coding in error["message"]
