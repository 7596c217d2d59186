"""The whole way: HTTP, web, node and engine processes, with the engine that needs no model."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any

import httpx
import openai
import psutil
import pytest
from pytest_django import Settings

from inference import router, wire
from tests import servers
from tests.inference.api.conftest import events

TALKER: dict[str, Any] = {"tokens_per_s": 100.0, "reply": "one two three four five"}
MODELS: list[dict[str, Any]] = [
    {
        "name": "talker",
        "kind": "llm",
        "engine": "fake",
        "path": "",
        "settings": {"options": TALKER},
    },
    {"name": "echo", "kind": "llm", "engine": "fake", "path": ""},
    {
        "name": "leaver",
        "kind": "llm",
        "engine": "fake",
        "path": "",
        "settings": {"options": TALKER},
    },
    {
        "name": "mortal",
        "kind": "llm",
        "engine": "fake",
        "path": "",
        "settings": {"options": {"tokens_per_s": 100.0, "crash_after_tokens": 20}},
    },
    {"name": "vectors", "kind": "embed", "engine": "fake", "path": ""},
    {"name": "speech", "kind": "asr", "engine": "fake", "path": ""},
    {
        "name": "broken",
        "kind": "llm",
        "engine": "fake",
        "path": "",
        "settings": {"options": {"fail_load": "the file is cut"}},
    },
    {
        "name": "slow",
        "kind": "llm",
        "engine": "fake",
        "path": "",
        "settings": {"options": {"load_s": 6.0}},
    },
]


@pytest.fixture(scope="module")
def hub() -> Iterator[servers.Hub]:
    keys = {"default": {}, "keeper": {"scopes": ["models:write"]}}
    with servers.hub(MODELS, {"gpt-4o": "echo"}, keys) as started:
        yield started


@pytest.fixture
async def sdk(hub: servers.Hub) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{hub.url}/v1", api_key=hub.key, max_retries=0
    ) as client:
        yield client


@pytest.fixture
async def client(hub: servers.Hub) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {hub.key}"}
    async with httpx.AsyncClient(base_url=f"{hub.url}/v1", headers=headers, timeout=60) as opened:
        yield opened


@pytest.fixture
def status(hub: servers.Hub, settings: Settings) -> Callable[[str], Awaitable[wire.ModelStatus]]:
    """Ask the node about a model."""
    settings.HUB_NODE_ADDRESS = hub.node_address

    async def ask(name: str) -> wire.ModelStatus:
        return next(m for m in (await router.snapshot()).models if m.name == name)

    return ask


def talk(model: str = "talker", **fields: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "say it"}], **fields}


async def test_every_endpoint_answers(sdk: openai.AsyncOpenAI) -> None:
    chat = await sdk.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "good day to you"}], max_tokens=4
    )
    assert chat.choices[0].message.content == "good day to you"
    assert chat.model == "echo"
    text = await sdk.completions.create(model="echo", prompt=["a b", "c d"], max_tokens=2, n=2)
    assert [choice.text for choice in text.choices] == ["a b", "a b", "c d", "c d"]
    vectors = await sdk.embeddings.create(model="vectors", input=["x", "y"], dimensions=4)
    assert [len(entry.embedding) for entry in vectors.data] == [4, 4]
    spoken = await sdk.audio.transcriptions.create(model="speech", file=("a.wav", b"12345"))
    assert spoken.text == "5 bytes of audio"


async def test_a_streamed_answer_is_the_plain_one(client: httpx.AsyncClient) -> None:
    body = talk("echo", max_tokens=20, n=2)
    plain = (await client.post("/chat/completions", json=body)).json()
    answer = await client.post("/chat/completions", json=body | {"stream": True})
    *chunks, done = events(answer.text)
    assert done == "[DONE]"
    for choice in plain["choices"]:
        parts = [c["choices"][0] for c in chunks if c["choices"][0]["index"] == choice["index"]]
        text = "".join(part["delta"].get("content", "") for part in parts)
        assert text == choice["message"]["content"]


async def test_stop_strings_reach_the_engine(sdk: openai.AsyncOpenAI) -> None:
    answer = await sdk.chat.completions.create(
        model="talker", messages=[{"role": "user", "content": "x"}], stop="three"
    )
    assert (answer.choices[0].message.content or "").strip() == "one two"
    assert answer.choices[0].finish_reason == "stop"


async def test_a_client_that_leaves_stops_the_tokens(
    client: httpx.AsyncClient, status: Callable[[str], Awaitable[wire.ModelStatus]]
) -> None:
    await client.post("/chat/completions", json=talk(max_tokens=1))  # now it is loaded
    before = (await status("talker")).cancelled_total
    body = talk(stream=True, max_tokens=1_000_000)
    async with client.stream("POST", "/chat/completions", json=body) as answer:
        await anext(answer.aiter_lines())
    async with asyncio.timeout(5), aclosing(router.watch(0.1)) as snapshots:
        async for snapshot in snapshots:
            talker = next(model for model in snapshot.models if model.name == "talker")
            if talker.cancelled_total == before + 1 and not talker.running:
                break


async def test_a_killed_engine_ends_its_own_requests_only(
    client: httpx.AsyncClient,
    sdk: openai.AsyncOpenAI,
    status: Callable[[str], Awaitable[wire.ModelStatus]],
) -> None:
    """The engine kills itself with SIGKILL after its twentieth token, mid-stream."""
    await sdk.embeddings.create(model="vectors", input="x")
    loads = (await status("vectors")).loads_total
    body = talk("mortal", stream=True, max_tokens=1_000)
    last_s = time.monotonic()
    async with client.stream("POST", "/chat/completions", json=body) as answer:
        lines = []
        async for line in answer.aiter_lines():
            lines.append(line)
            last_s = time.monotonic() if '"content":" ' in line else last_s
    assert time.monotonic() - last_s < 2
    assert "event: error" in lines
    assert "data: [DONE]" not in lines
    last = json.loads([line for line in lines if line][-1].removeprefix("data: "))
    assert last["error"]["code"] == "answer_interrupted"
    again = await client.post("/chat/completions", json=talk("mortal", max_tokens=3))
    assert again.json()["choices"][0]["message"]["content"] == "say it say"
    await sdk.embeddings.create(model="vectors", input="x")
    assert (await status("vectors")).loads_total == loads


async def test_a_whole_answer_outlives_its_engine(
    client: httpx.AsyncClient,
    hub: servers.Hub,
    status: Callable[[str], Awaitable[wire.ModelStatus]],
) -> None:
    await client.post("/chat/completions", json=talk(max_tokens=1))  # now it is loaded
    before = await status("talker")
    body = talk(max_tokens=300)
    asked = asyncio.create_task(client.post("/chat/completions", json=body))
    async with asyncio.timeout(60), aclosing(router.watch(0.05)) as snapshots:
        async for snapshot in snapshots:
            talker = next(model for model in snapshot.models if model.name == "talker")
            if talker.running:
                break
    for engine in psutil.Process(hub.processes["node"].pid).children(recursive=True):
        engine.kill()
    answer = await asked
    assert answer.status_code == 200, answer.text
    said = answer.json()["choices"][0]["message"]["content"]
    assert said.split() == (TALKER["reply"].split() * 60)[:300]
    assert answer.json()["usage"]["completion_tokens"] == 300
    assert (await status("talker")).failures_total == before.failures_total + 1


async def test_an_engine_that_ends_every_answer_is_told_as_one_to_try_again(
    client: httpx.AsyncClient, status: Callable[[str], Awaitable[wire.ModelStatus]]
) -> None:
    await client.post("/chat/completions", json=talk("mortal", max_tokens=3))
    before = await status("mortal")
    answer = await client.post("/chat/completions", json=talk("mortal", max_tokens=1_000))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, "answer_interrupted")
    assert int(answer.headers["retry-after"]) >= 1
    assert (await status("mortal")).failures_total == before.failures_total + 2


async def test_a_busy_model_is_removed_at_once_and_answers_to_the_end(
    client: httpx.AsyncClient,
    hub: servers.Hub,
    status: Callable[[str], Awaitable[wire.ModelStatus]],
) -> None:
    body = talk("leaver", stream=True, max_tokens=1_000_000)
    async with client.stream("POST", "/chat/completions", json=body) as answer:
        lines = answer.aiter_lines()
        await anext(lines)
        keeper = {"Authorization": f"Bearer {hub.keys['keeper']}"}
        removed = await client.delete(f"{hub.url}/api/v1/models/leaver", headers=keeper)
        draining = {"model": "leaver", "state": "draining", "running": 1}
        assert (removed.status_code, removed.json()) == (202, draining)
        assert (await status("leaver")).state == "draining"
        refused = await client.post("/chat/completions", json=talk("leaver"))
        assert refused.status_code == 404
        assert any([await anext(lines) for _ in range(4)]), "it goes on"
    async with asyncio.timeout(30), aclosing(router.watch(0.1)) as snapshots:
        async for snapshot in snapshots:
            if "leaver" not in {model.name for model in snapshot.models}:
                break


async def test_a_model_that_cannot_load_says_why(client: httpx.AsyncClient) -> None:
    answer = await client.post("/chat/completions", json=talk("broken", stream=True))
    assert answer.status_code == 503
    error = answer.json()["error"]
    assert error["code"] == "model_load_failed"
    assert "The file is cut" in error["message"]


async def test_a_slow_load_keeps_the_stream_alive(client: httpx.AsyncClient) -> None:
    answer = await client.post("/chat/completions", json=talk("slow", stream=True, max_tokens=2))
    assert answer.text.startswith(": loading")
    *chunks, done = events(answer.text)
    assert done == "[DONE]"
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"


async def test_a_restarted_node_is_found_again(client: httpx.AsyncClient, hub: servers.Hub) -> None:
    node = hub.processes["node"]
    node.kill()
    node.wait()
    servers.start(hub, "node", "serve_models")
    for _ in range(30):
        answer = await client.post("/chat/completions", json=talk(max_tokens=1))
        if answer.status_code == 200:
            break
        assert answer.status_code in {500, 503}, answer.text
        assert answer.headers["x-should-retry"] == "true"
    assert answer.status_code == 200
