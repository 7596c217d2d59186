"""Tokens served never pass a limit, whatever is asked: two web processes and a node that counts."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests import servers
from tests.inference.api.conftest import MODELS, events

LIMIT = 100
FAR = {"name": "far", "kind": "llm", "engine": "remote_openai", "path": ""}
Two = tuple[servers.Hub, servers.Hub]


@pytest.fixture(scope="module")
def two() -> Iterator[Two]:
    keys: dict[str, dict[str, Any]] = {name: {} for name in ("mixed", "alone", "over", "remote")}
    keys["admin"] = {"scopes": ["users:manage"]}
    with servers.hub([*MODELS, FAR], keys=keys, AI_HUB_DEVICE="cpu") as hub:
        yield hub, servers.another_web(hub)


def limited(two: Two, name: str) -> str:
    key = two[0].keys[name]
    with httpx.Client(headers={"x-api-key": two[0].keys["admin"]}) as client:
        where = f"/api/v1/limits/key/{key.removeprefix('hub_')[:12]}"
        for web in two:  # whoever was told knows at once
            assert client.patch(web.url + where, json={"tokens_per_hour": LIMIT}).status_code == 200
    return key


def ask(words: int, word: str = "word", **fields: Any) -> dict[str, Any]:
    """The engine counts a token a word."""
    prompt = " ".join([word] * words)
    return {"model": "chat", "messages": [{"role": "user", "content": prompt}], **fields}


def some(dice: random.Random) -> dict[str, Any]:
    fields: dict[str, Any] = {"n": dice.choice([1, 1, 2])}
    if dice.random() < 0.5:
        fields["max_tokens"] = dice.randint(1, 40)
    if dice.random() < 0.5:
        fields |= {"stream": True, "stream_options": {"include_usage": True}}
    return ask(dice.randint(1, 120), **fields)


async def send(two: Two, key: str, bodies: list[dict[str, Any]]) -> list[httpx.Response]:
    """Ask all at once, in turn through both processes."""
    async with httpx.AsyncClient(headers={"x-api-key": key}, timeout=60) as client:
        urls = [f"{two[n % 2].url}/v1/chat/completions" for n in range(len(bodies))]
        pairs = zip(urls, bodies, strict=True)
        return await asyncio.gather(*(client.post(url, json=body) for url, body in pairs))


def served(answer: httpx.Response) -> int:
    """Give the tokens that a client was told of."""
    if answer.status_code != 200:
        assert answer.status_code == 429, answer.text
        return 0
    if answer.headers["content-type"].startswith("text/event-stream"):
        last = events(answer.text)[-2]
        return int(last["usage"]["total_tokens"])
    return int(answer.json()["usage"]["total_tokens"])


async def test_whatever_is_asked_no_more_than_the_limit_is_served(two: Two) -> None:
    key, dice, total = await asyncio.to_thread(limited, two, "mixed"), random.Random(4), 0
    for _ in range(4):
        total += sum(map(served, await send(two, key, [some(dice) for _ in range(40)])))
        assert total <= LIMIT
    assert total > 0


async def test_a_long_prompt_goes_alone_and_ends_at_the_limit(two: Two) -> None:
    """Its bound is 330 tokens; it has 50, and half of the limit is left to its answers."""
    key = await asyncio.to_thread(limited, two, "alone")
    many = [ask(50, stream=True, stream_options={"include_usage": True})] * 20
    answers = await send(two, key, many)
    (only,) = [answer for answer in answers if answer.status_code == 200]
    assert served(only) == LIMIT
    assert '"finish_reason":"length"' in only.text
    assert not any(map(served, await send(two, key, many)))


@pytest.mark.parametrize("words", [101, 110, 663])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_over_the_limit_is_never_served(two: Two, words: int, stream: bool) -> None:
    """Two letters a word make a bound that says little: the engine counts, and refuses."""
    key = await asyncio.to_thread(limited, two, "over")
    (answer,) = await send(two, key, [ask(words, word="a", stream=stream)])
    assert answer.status_code == 429
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json()["error"]["code"] == "token_budget_exceeded"
    assert "hour" in answer.json()["error"]["message"]


async def test_a_model_of_another_server_may_not_go_beyond_its_bound(two: Two) -> None:
    key = await asyncio.to_thread(limited, two, "remote")
    (answer,) = await send(two, key, [{**ask(50), "model": "far"}])
    assert answer.status_code == 429
    assert answer.json()["error"]["code"] == "token_budget_exceeded"
