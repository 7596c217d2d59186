"""Errors, headers and limits of /v1: always OpenAI's envelope, never a trace, nothing read too early."""

import asyncio
import json
import re
import socket
import time
import uuid
from typing import Any

import httpx
import psutil
import pytest

from inference import wire
from tests import servers
from tests.inference.api.conftest import Nodes, chat, says
from tests.inference.scripted_node import Line

CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
POSTS = [
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/audio/transcriptions",
    "/audio/translations",
]


def check_envelope(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"]
    error: dict[str, Any] = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert "Traceback" not in answer.text
    assert "/work" not in answer.text
    return error


@pytest.mark.parametrize("path", [*POSTS, "/models", "/models/chat", "/nowhere"])
async def test_nobody_enters_without_a_key(web: servers.Hub, path: str) -> None:
    async with httpx.AsyncClient() as stranger:
        for method in ("GET", "POST", "PUT", "DELETE"):
            answer = await stranger.request(method, f"{web.url}/v1{path}")
            check_envelope(answer, 401, "invalid_api_key")


async def test_a_wrong_key_is_refused(web: servers.Hub) -> None:
    async with httpx.AsyncClient() as stranger:
        for header in ("Bearer hub_x", "Bearer", "Basic eDp5", f"Bearer {web.key[:-1]}x"):
            answer = await stranger.get(f"{web.url}/v1/models", headers={"Authorization": header})
            check_envelope(answer, 401, "invalid_api_key")


async def test_two_keys_are_refused(web: servers.Hub, client: httpx.AsyncClient) -> None:
    answer = await client.get("/models", headers={"x-api-key": web.keys["reader"]})
    check_envelope(answer, 400, "invalid_request")


async def test_a_scope_is_needed(web: servers.Hub) -> None:
    headers = {"Authorization": f"Bearer {web.keys['reader']}"}
    async with httpx.AsyncClient(base_url=f"{web.url}/v1", headers=headers) as reader:
        assert (await reader.get("/models")).status_code == 200
        for path in POSTS:
            check_envelope(await reader.post(path, json={}), 403, "permission_denied")


async def test_unknown_routes_and_methods(client: httpx.AsyncClient) -> None:
    check_envelope(await client.get("/nowhere"), 404, "not_found")
    check_envelope(await client.post("/chat/completions/", json={}), 404, "not_found")
    check_envelope(await client.get("/chat/completions"), 405, "method_not_allowed")
    check_envelope(await client.delete("/models/chat"), 405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/models?page_size=1000000000", "/models/chat?ordering=x"])
async def test_an_unknown_query_parameter_is_named(client: httpx.AsyncClient, path: str) -> None:
    error = check_envelope(await client.get(path), 400, "unknown_parameter")
    assert error["param"] == path.partition("?")[2].partition("=")[0]


async def test_a_base_url_without_v1_is_told(web: servers.Hub) -> None:
    by_key = {"Authorization": f"Bearer {web.key}"}
    async with httpx.AsyncClient(base_url=web.url) as program:
        answers = [
            await program.post("/chat/completions", json={"model": "chat"}),
            await program.post("/v1/v1/chat/completions", json={}, headers=by_key),
            await program.get("/models", headers=by_key),
            await program.get("/v1"),
            await program.get("/v1/"),
        ]
        page = await program.get("/models/")
    for answer in answers:
        error = check_envelope(answer, 404, "not_found")
        assert f"{web.url}/v1 as the base URL" in error["message"]
    assert page.headers["location"].startswith("/login/")


async def test_a_foreign_host_is_not_repeated(web: servers.Hub) -> None:
    async with httpx.AsyncClient(headers={"Host": "evil.example"}) as program:
        answer = await program.get(f"{web.url}/v1/")
    assert "evil" not in check_envelope(answer, 404, "not_found")["message"]


async def test_a_wrong_method_hears_the_right_ones(client: httpx.AsyncClient) -> None:
    assert (await client.put("/models")).headers["allow"] == "GET, HEAD, OPTIONS"
    assert (await client.get("/embeddings")).headers["allow"] == "POST, OPTIONS"


async def test_head_is_a_get_without_its_body(client: httpx.AsyncClient) -> None:
    whole = await client.get("/models")
    head = await client.head("/models")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]


async def test_content_types(client: httpx.AsyncClient) -> None:
    for path in POSTS:
        for content_type in ("text/plain", "application/x-www-form-urlencoded", ""):
            answer = await client.post(path, content=b"{}", headers={"content-type": content_type})
            check_envelope(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"a":' * 100_000,
        b"[" * 1_000_000,
        b'{"model": NaN}',
        b"\xff\xfe",
        b'{"model": "chat", "model": "chat"}',
        b"9" * 100_000,
    ],
)
@pytest.mark.parametrize("path", POSTS[:3])
async def test_malformed_bodies(client: httpx.AsyncClient, path: str, body: bytes) -> None:
    answer = await client.post(path, content=body, headers={"content-type": "application/json"})
    check_envelope(answer, 400, "invalid_json")


async def test_unpaired_surrogates_and_nul(client: httpx.AsyncClient) -> None:
    for text in ("\\ud800", "a\\u0000b"):
        body = f'{{"model": "chat", "messages": [{{"role": "user", "content": "{text}"}}]}}'
        headers = {"content-type": "application/json"}
        answer = await client.post("/chat/completions", content=body.encode(), headers=headers)
        error = check_envelope(answer, 400, "invalid_value")
        assert error["param"] == "messages[0].content"


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        ("/chat/completions", chat(model="none"), "model_not_found", "model"),
        ("/chat/completions", chat(model="vectors"), "unsupported_model", "model"),
        ("/embeddings", {"model": "chat", "input": "x"}, "unsupported_model", "model"),
        ("/completions", {"model": "speech", "prompt": "x"}, "unsupported_model", "model"),
        ("/chat/completions", chat(tools=[{}]), "unsupported_parameter", "tools"),
        ("/chat/completions", chat(temperature=9), "invalid_value", "temperature"),
        ("/chat/completions", chat(wat=1), "unknown_parameter", "wat"),
    ],
)
async def test_bad_values(
    client: httpx.AsyncClient, path: str, body: dict[str, Any], code: str, param: str
) -> None:
    answer = await client.post(path, json=body)
    error = check_envelope(answer, 404 if code == "model_not_found" else 400, code)
    assert error["param"] == param
    assert answer.headers["x-should-retry"] == "false"


async def test_an_unexpected_error_tells_nothing(
    client: httpx.AsyncClient, node: Nodes, web: servers.Hub
) -> None:
    async with node(says(wire.Delta(index=99, text="secret"), wire.Done())):
        answer = await client.post("/chat/completions", json=chat())
    error = check_envelope(answer, 500, "internal_error")
    assert answer.headers["x-request-id"] in error["message"]
    assert "secret" not in answer.text
    assert "IndexError" in web.log("web")


async def test_every_answer_names_its_request(client: httpx.AsyncClient, node: Nodes) -> None:
    async with node(says(wire.Delta(text="x", finish_reason="stop"), wire.Done())):
        answer = await client.post(
            "/chat/completions", json=chat(), headers={"X-Client-Request-Id": "mine-1"}
        )
    assert answer.headers["x-client-request-id"] == "mine-1"
    assert answer.headers["openai-version"] == "2020-10-01"
    assert int(answer.headers["openai-processing-ms"]) >= 0
    answer = await client.get("/models", headers={"X-Client-Request-Id": "x" * 600})
    assert "x-client-request-id" not in answer.headers


async def test_the_log_says_who_asked_what_and_what_it_took(
    web: servers.Hub, client: httpx.AsyncClient, node: Nodes
) -> None:
    async with node(
        says(
            wire.Delta(text="a", finish_reason="stop"),
            wire.Done(usage=wire.Usage(prompt_tokens=3, completion_tokens=1)),
        )
    ):
        answer = await client.post("/chat/completions", json=chat())
    await client.get("/models")  # the line of a request is written once its answer is out
    request_id = answer.headers["x-request-id"]
    lines = web.log("web").splitlines()
    (line,) = [one for one in lines if request_id in one and "/chat/completions 200 in" in one]
    usage = answer.json()["usage"]
    for name in ("prompt_tokens", "completion_tokens"):
        assert f"{name}={usage[name]}" in line
    assert "model=chat" in line
    assert "user_id=" in line
    public_id = web.key.removeprefix("hub_")[:6]
    assert f"key_id={public_id}" in line
    assert web.key not in web.log("web")


async def test_browsers_of_other_origins_may_ask(web: servers.Hub) -> None:
    headers = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, x-stainless-lang",
    }
    async with httpx.AsyncClient() as browser:
        answer = await browser.options(f"{web.url}/v1/chat/completions", headers=headers)
        assert answer.status_code == 204
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-allow-headers"] == "authorization, x-stainless-lang"
        refused = await browser.get(f"{web.url}/v1/models", headers={"Origin": "https://x.example"})
        assert refused.headers["access-control-allow-origin"] == "*"
        assert "retry-after" in refused.headers["access-control-expose-headers"]
        assert "access-control-allow-credentials" not in refused.headers


# --- bodies that are too large, too slow, or never wanted -------------------------------------------


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
