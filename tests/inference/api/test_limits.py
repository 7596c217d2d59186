"""Limits of a key as a client sees them: headers that count down, then 429 with a time to wait."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from inference import wire
from tests import servers
from tests.inference.api.conftest import MODELS, chat, says
from tests.inference.scripted_node import Line, scripted


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Hub]:
    config = tmp_path_factory.mktemp("config") / "hub.json"
    config.write_text(json.dumps({"rate_limits": {"requests_per_minute": 2}}))
    with servers.hub(
        MODELS, node_address=f"unix:{config.parent}/node.sock", AI_HUB_CONFIG=str(config)
    ) as hub:
        yield hub


async def test_a_limit_counts_down_and_then_holds(limited: servers.Hub) -> None:
    path = Path(limited.node_address.removeprefix("unix:"))
    answer = says(wire.Delta(text="x", finish_reason="stop"), wire.Done())
    async with (
        scripted(path, answer) as node,
        openai.AsyncOpenAI(
            base_url=f"{limited.url}/v1", api_key=limited.key, max_retries=0
        ) as client,
    ):
        completions = client.chat.completions.with_raw_response
        left = []
        for _ in range(2):
            raw = await completions.create(**chat())
            left.append(raw.headers["x-ratelimit-remaining-requests"])
            assert raw.headers["x-ratelimit-limit-requests"] == "2"
            assert raw.headers["x-ratelimit-reset-requests"]
        with pytest.raises(openai.RateLimitError) as caught:
            await completions.create(**chat())
    assert left == ["1", "0"]
    assert caught.value.code == "rate_limit_exceeded"
    assert int(caught.value.response.headers["retry-after"]) >= 1
    assert int(caught.value.response.headers["retry-after-ms"]) > 0
    assert caught.value.response.headers["x-should-retry"] == "true"
    assert caught.value.response.headers["x-ratelimit-limit-requests"] == "2"
    assert caught.value.response.headers["x-ratelimit-remaining-requests"] == "0"
    assert caught.value.response.headers["x-ratelimit-reset-requests"].endswith("s")
    assert len(node.questions) == 2


@pytest.fixture(scope="module")
def budgeted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Hub]:
    config = tmp_path_factory.mktemp("config") / "hub.json"
    config.write_text(json.dumps({"rate_limits": {"tokens_per_hour": 5000}}))
    address = f"unix:{config.parent}/node.sock"
    with servers.hub(MODELS, node_address=address, AI_HUB_CONFIG=str(config)) as hub:
        yield hub


def ask(hub: servers.Hub, text: str, **fields: object) -> httpx.Response:
    body = chat(messages=[{"role": "user", "content": text}], **{"max_tokens": 1, **fields})
    with hub.client() as client:
        return client.post("/chat/completions", json=body)


async def test_a_request_that_can_never_fit_is_not_to_be_retried(budgeted: servers.Hub) -> None:
    answer = await asyncio.to_thread(ask, budgeted, "x", max_tokens=6000)
    assert answer.status_code == 429
    assert answer.headers["x-should-retry"] == "false"
    assert answer.headers["retry-after"] == "3600"
    assert answer.headers["x-ratelimit-limit-tokens"] == "5000"
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) > 0


@pytest.mark.parametrize("computing", [True, False], ids=["computing", "queued"])
async def test_who_leaves_pays_for_a_prompt_that_an_engine_had(
    budgeted: servers.Hub, computing: bool
) -> None:
    """Computing a prompt costs, and it must not be free to leave before the first token."""
    path = Path(budgeted.node_address.removeprefix("unix:"))
    asked = asyncio.Event()

    async def script(line: Line, question: wire.Any) -> None:
        if "leave" not in str(question):
            await line.send(wire.Delta(text="x", finish_reason="stop"), wire.Done())
            return
        await line.send(wire.Progress(state="queued", position=1, reason="busy"))
        if computing:
            await line.send(wire.Progress(state="running"))
        asked.set()
        await line.closed.wait()

    async def left() -> int:
        answer = await asyncio.to_thread(ask, budgeted, "x")
        return int(answer.headers["x-ratelimit-remaining-tokens"])

    async with scripted(path, script):
        before = await left()
        leaving = asyncio.create_task(leave(budgeted, "leave " * 100, asked))
        await leaving
        for _ in range(100):
            paid = before - await left()
            if paid < 1000:  # the whole reservation, until it is settled
                break
    assert (paid > 100) is computing
    assert computing or paid == 0


async def leave(hub: servers.Hub, text: str, asked: asyncio.Event) -> None:
    """Ask, and close the connection once the node has been asked."""
    headers = {"Authorization": f"Bearer {hub.key}"}
    body = chat(messages=[{"role": "user", "content": text}], max_tokens=2000)
    async with httpx.AsyncClient(base_url=f"{hub.url}/v1", headers=headers) as client:
        request = asyncio.create_task(client.post("/chat/completions", json=body, timeout=60))
        await asked.wait()
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)


FOX = {"name": "fox", "kind": "llm", "engine": "fake", "path": "/m/fox", "base": "chat"}
OWN = 10  # requests per minute
KEYS = {"default": {}, "admin": {"scopes": ["admin:users", "models:read"]}}


@pytest.fixture(scope="module")
def counting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Hub]:
    config = tmp_path_factory.mktemp("config") / "hub.json"
    config.write_text(json.dumps({"rate_limits": {"requests_per_minute": OWN}}))
    address = f"unix:{config.parent}/node.sock"
    with servers.hub(
        [*MODELS, FOX], keys=KEYS, node_address=address, AI_HUB_CONFIG=str(config)
    ) as hub:
        yield hub


async def test_a_limit_of_a_base_holds_for_its_adapters(counting: servers.Hub) -> None:
    """They take its machine: another of its names is no way round."""
    path = Path(counting.node_address.removeprefix("unix:"))
    headers = {"x-api-key": counting.keys["admin"]}
    place = f"{counting.url}/api/v1/limits/model/chat"
    async with httpx.AsyncClient(headers=headers, timeout=60) as client:
        made = await client.patch(place, json={"requests_per_minute": 1})
    assert made.status_code == 200, made.text
    async with scripted(path, says(wire.Delta(text="x", finish_reason="stop"), wire.Done())):
        asked = ("fox", "fox", "chat", "org/deep/name")
        answers = [await asyncio.to_thread(ask, counting, "x", model=one) for one in asked]
    assert [one.status_code for one in answers] == [200, 429, 429, 200], answers[0].text
    assert "fox: 1 requests per minute of all callers" in answers[1].text


def refused(client: httpx.Client, method: str, path: str, **options: object) -> httpx.Response:
    """Ask until it is refused: now and then a place flows in."""
    for _ in range(3 * OWN):
        answer = client.request(method, path, **options)  # type: ignore[arg-type]
        assert answer.headers["x-ratelimit-limit-requests"] == str(OWN), path
        if answer.status_code == 429:
            return answer
    raise AssertionError(f"{path} goes on: {answer.text}")


def test_calls_without_a_model_count_too(counting: servers.Hub) -> None:
    """Lists, files, jobs, what does not exist, and the management API: one clock for all of them."""
    headers = {"Authorization": f"Bearer {counting.key}"}
    paths = ("/v1/models", "/v1/files", "/v1/fine_tuning/jobs", "/v1/nothing", "/api/v1/me")
    with httpx.Client(base_url=counting.url, headers=headers, timeout=60) as client:
        answers = [refused(client, "GET", path) for path in paths]
        answers.append(refused(client, "POST", "/v1/uploads", json={}))
        answers.append(refused(client, "POST", "/v1/chat/completions", json=chat()))
    for one in answers:
        assert one.json()["error"]["code"] == "rate_limit_exceeded"
        assert one.headers["x-ratelimit-remaining-requests"] == "0"
        assert int(one.headers["retry-after"]) >= 1
