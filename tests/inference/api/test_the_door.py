"""Errors, headers and limits of /v1: always OpenAI's envelope, never a trace, nothing read too early."""

import asyncio
from typing import Any

import httpx
import pytest

from inference import wire
from tests import servers
from tests.inference.api.conftest import Nodes, chat, says
from tests.inference.api.envelopes import POSTS, check_envelope


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


def _lines(web: servers.Hub, *parts: str) -> list[str]:
    """Give the whole lines of the web process's log that hold all of these."""
    whole = web.log("web").rpartition("\n")[0].splitlines()
    return [line for line in whole if all(part in line for part in parts)]


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
    request_id = answer.headers["x-request-id"]
    async with asyncio.timeout(30):  # the line of a request is written once its answer is out
        while not (lines := _lines(web, request_id, "/chat/completions 200 in")):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    (line,) = lines
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
