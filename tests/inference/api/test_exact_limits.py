"""Limits and ledger through two web processes: exactly the limit passes, and every token has its row."""

import asyncio
import random
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from inference import wire
from inference.openai import chat as chat_request
from tests import servers
from tests.inference.api.conftest import MODELS, chat, events, says
from tests.inference.scripted_node import Line, Script, scripted

ACTS_WITHIN_S = 2.0  # Source: the project's rules of trust
NOTED_WITHIN_S = 20.0
ANSWERED = 9
PROMPT = chat_request.parse(chat()).cost.prompt  # what is reserved for it
TOKENS = PROMPT + ANSWERED  # of one request, at most
KEYS = ["rate", "tokens", "places", "all", "streams", "model", "heavy", "vectors", "open", "small"]
KEYS += ["template"]
WORDY = {"name": "wordy", "kind": "llm", "engine": "fake", "path": "/m/wordy"}
ADMIN = ["users:manage", "models:read"]
Two = tuple[servers.Hub, servers.Hub]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    node = tmp_path_factory.mktemp("node") / "node.sock"
    keys: dict[str, dict[str, Any]] = {name: {} for name in KEYS}
    keys["admin"] = {"scopes": ADMIN}
    with servers.hub([*MODELS, WORDY], keys=keys, node_address=f"unix:{node}") as hub:
        yield hub, servers.another_web(hub)


def node_of(two: Two, script: Script) -> Any:
    return scripted(Path(two[0].node_address.removeprefix("unix:")), script)


def id_of(key: str) -> str:
    return key.removeprefix("hub_")[:12]


def limit(two: Two, name: str, **limits: int) -> str:
    """Set the limits of a key through one process, and wait until the other knows; give the key."""
    key = two[0].keys[name]
    admin = {"Authorization": f"Bearer {two[0].keys['admin']}"}
    where = f"{two[0].url}/api/v1/limits/key/{id_of(key)}"
    assert httpx.patch(where, headers=admin, json=limits).status_code == 200
    until_s = time.monotonic() + ACTS_WITHIN_S
    while time.monotonic() < until_s:
        own = httpx.get(
            f"{two[1].url}/api/v1/limits/own", headers={"Authorization": f"Bearer {key}"}
        ).json()
        if limits.items() <= own[0].items():
            forget_requests(two, key)  # asking was one
            return key
    raise AssertionError("the other process did not learn of it in time")


def forget_requests(two: Two, key: str) -> None:
    with redis.Redis.from_url(two[0].env["AI_HUB_REDIS_URL"]) as client:
        client.delete(f"hub:limits:key:{id_of(key)}:requests")


@asynccontextmanager
async def flooding(
    two: Two, key: str, count: int = 100, **fields: Any
) -> AsyncIterator[list["asyncio.Task[httpx.Response]"]]:
    """Ask so many times at once, in turn through both processes."""
    headers = {"Authorization": f"Bearer {key}"}
    wide = httpx.Limits(max_connections=count)
    body = {**chat(max_tokens=ANSWERED), **fields}
    async with httpx.AsyncClient(headers=headers, timeout=60, limits=wide) as client:
        urls = [f"{two[n % 2].url}/v1/chat/completions" for n in range(count)]
        yield [asyncio.create_task(client.post(url, json=body)) for url in urls]


async def flood(two: Two, key: str, count: int = 100, **fields: Any) -> list[httpx.Response]:
    """Do so, and wait for all answers."""
    async with flooding(two, key, count, **fields) as asked:
        return await asyncio.gather(*asked)


def passed(answers: list[httpx.Response]) -> int:
    assert {answer.status_code for answer in answers} <= {200, 429}
    return sum(answer.status_code == 200 for answer in answers)


def rows(two: Two, key: str, count: int) -> list[sqlite3.Row]:
    """Wait until the ledger has so many rows of a key."""
    until_s = time.monotonic() + NOTED_WITHIN_S
    with sqlite3.connect(two[0].data / "hub.sqlite3") as database:
        database.row_factory = sqlite3.Row
        while time.monotonic() < until_s:
            found = database.execute(
                "SELECT * FROM accounts_usage WHERE key_id = ?", [id_of(key)]
            ).fetchall()
            if len(found) >= count:
                return found
    raise AssertionError(f"{len(found)} rows of {count}")


def totals(two: Two, key: str) -> tuple[int, int]:
    """Give requests and tokens of a key, as the sums of its days have them."""
    with sqlite3.connect(two[0].data / "hub.sqlite3") as database:
        found = database.execute(
            "SELECT SUM(requests), SUM(prompt_tokens + completion_tokens)"
            " FROM accounts_usagetotal WHERE span = 'day' AND key_id = ?",
            [id_of(key)],
        ).fetchone()
    return found[0], found[1]


def places(two: Two, key: str) -> int:
    """Give how many places of a key are taken."""
    with redis.Redis.from_url(two[0].env["AI_HUB_REDIS_URL"]) as client:
        return int(client.zcard(f"hub:limits:key:{id_of(key)}:leases"))


ANSWER = (
    wire.Delta(text="x", tokens=ANSWERED, finish_reason="length", prompt_tokens=PROMPT),
    wire.Done(usage=wire.Usage(prompt_tokens=PROMPT, completion_tokens=ANSWERED)),
)


@pytest.mark.parametrize(
    ("name", "limits"),
    [("rate", {"requests_per_minute": 5}), ("tokens", {"tokens_per_hour": 5 * TOKENS})],
)
async def test_exactly_the_limit_passes(two: Two, name: str, limits: dict[str, int]) -> None:
    key = await asyncio.to_thread(limit, two, name, **limits)
    async with node_of(two, says(*ANSWER)) as node:
        answers = await flood(two, key)
    assert passed(answers) == len(node.submitted) == 5
    for answer in answers:
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"]["code"] == "rate_limit_exceeded"
            assert "of this key" in answer.json()["error"]["message"]
    found = await asyncio.to_thread(rows, two, key, 100)
    assert len(found) == 100
    assert sum(row["prompt_tokens"] + row["completion_tokens"] for row in found) == 5 * TOKENS
    assert sum(row["status"] == 429 for row in found) == 95
    assert totals(two, key) == (100, 5 * TOKENS)


async def used(two: Two, key: str, count: int) -> int:
    """Give the tokens that the ledger has of so many requests."""
    found = await asyncio.to_thread(rows, two, key, count)
    return sum(row["prompt_tokens"] + row["completion_tokens"] for row in found)


@pytest.mark.parametrize(("name", "most"), [("heavy", 1000), ("small", 60)])
async def test_an_engine_that_counts_more_than_text_shows_stays_within(
    two: Two, name: str, most: int
) -> None:
    """A template makes 31 tokens of "hi": a guess from its two letters let 15 times the limit pass."""
    key = await asyncio.to_thread(limit, two, name, tokens_per_hour=most)
    real = wire.Usage(prompt_tokens=31, completion_tokens=2)
    last = wire.Delta(text="x", tokens=2, finish_reason="length", prompt_tokens=31)
    asked, served = 0, 0
    async with node_of(two, says(last, wire.Done(usage=real))):
        while got := passed(await flood(two, key, max_tokens=2)):
            asked, served = asked + 100, served + got
    assert 0 < await used(two, key, asked + 100) == served * 33 <= most
    assert served == 1 or most - served * 33 < PROMPT + 2  # all was given that was certain


async def test_many_small_texts_are_counted(two: Two) -> None:
    key = await asyncio.to_thread(limit, two, "vectors", tokens_per_hour=60)
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as client:
        where = f"{two[0].url}/v1/embeddings"
        answer = await client.post(where, json={"model": "vectors", "input": ["a b"] * 500})
    assert answer.status_code == 429
    assert answer.headers["x-should-retry"] == "false"


async def test_an_open_answer_is_held_to_what_is_left(two: Two) -> None:
    """It takes all that is left, and the engine is told; what it did not use is given back."""
    key = await asyncio.to_thread(limit, two, "open", tokens_per_hour=1000)

    async def as_long_as_it_may(line: Line, question: Any) -> None:
        room = question.body.budget - PROMPT
        usage = wire.Usage(prompt_tokens=PROMPT, completion_tokens=room)
        await line.send(wire.Delta(text="x", tokens=room, finish_reason="length"))
        await line.send(wire.Done(usage=usage))

    async with node_of(two, as_long_as_it_may) as node:
        answers = await flood(two, key, max_tokens=None)
        assert passed(answers) == 1
        assert node.submitted[0].body.budget == 1000
        assert node.submitted[0].body.sampling.room == 1000 - PROMPT  # what upstreams are told
    assert await used(two, key, 100) == 1000


async def test_a_template_of_many_tokens_is_refused_once_and_then_reserved(two: Two) -> None:
    """The engine counts more than was reserved: a second try has what it needs."""
    key = await asyncio.to_thread(limit, two, "template", tokens_per_hour=5000)
    answered = (wire.Delta(text="x", tokens=9, finish_reason="stop", prompt_tokens=500), ANSWER[1])
    refused = wire.Failure(code="token_budget_exceeded", message="more", prompt_tokens=500)

    async def counts(line: Line, question: Any) -> None:
        enough = question.body.budget >= 500 + ANSWERED
        await line.send(*answered if enough else (refused,))

    async with node_of(two, counts):
        one = (two[0], two[0])
        (first,), (second,) = [await flood(one, key, 1, model="wordy") for _ in range(2)]
    assert first.status_code == 429
    assert first.headers["x-should-retry"] == "true"
    assert second.status_code == 200


async def test_exactly_so_many_places_are_given(two: Two) -> None:
    key = await asyncio.to_thread(limit, two, "places", concurrent_requests=4)
    ended: list[asyncio.Task[httpx.Response]] = []
    refused_all = asyncio.Event()

    def note(task: "asyncio.Task[httpx.Response]") -> None:
        ended.append(task)
        if len(ended) == 96:
            refused_all.set()

    async with node_of(two, held := Held()) as node, flooding(two, key) as asked:
        for one in asked:
            one.add_done_callback(note)
        await refused_all.wait()
        refused = [one.result() for one in ended]
        assert passed(refused) == 0
        await held.four.wait()
        held.free.set()
        assert passed(await asyncio.gather(*asked)) == len(node.submitted) == 4
        for answer in refused:
            assert answer.headers["x-ratelimit-limit-concurrency"] == "4"
            assert answer.headers["x-ratelimit-remaining-concurrency"] == "0"
            assert answer.headers["x-ratelimit-limit-requests"]
            assert answer.headers["retry-after"] == "1"
        assert passed(await flood(two, key, 4)) == 4
    assert places(two, key) == 0


async def test_all_limits_hold_together(two: Two) -> None:
    limits = {"requests_per_minute": 5, "tokens_per_hour": 5 * TOKENS, "concurrent_requests": 4}
    key = await asyncio.to_thread(limit, two, "all", **limits)
    async with node_of(two, held := Held()) as node:
        asked = asyncio.create_task(flood(two, key))
        await held.four.wait()
        held.free.set()
        first = passed(await asked)
        rest = passed(await flood(two, key))
    assert 4 <= first <= 5  # the fifth may come when the first has ended
    assert first + rest == len(node.submitted) == 5


class Held:
    """A script that answers once it is let free; `four` is set by the fourth question."""

    def __init__(self) -> None:
        self.free, self.four = asyncio.Event(), asyncio.Event()
        self._count = 0

    async def __call__(self, line: Line, _question: wire.Any) -> None:
        self._count += 1
        if self._count == 4:
            self.four.set()
        await self.free.wait()
        await line.send(*ANSWER)


async def test_streams_that_break_off_are_counted_to_the_token(two: Two) -> None:
    key = await asyncio.to_thread(limit, two, "streams", concurrent_requests=100)
    dice = random.Random(7)
    wanted = {f"stream-{n}": dice.randint(1, 9) for n in range(60)}

    async def so_many(line: Line, question: Any) -> None:
        """Send as many tokens as the prompt says, then wait for the client to leave."""
        count = int(question.body.prompt.messages[-1].content)
        for n in range(count):
            told = 11 if n == 0 else 0
            await line.send(wire.Delta(text=f"t{n} ", tokens=1, prompt_tokens=told))
        await line.closed.wait()

    async with node_of(two, so_many) as node:
        await asyncio.gather(
            *(leave_after(two, key, name, count) for name, count in wanted.items())
        )
        await asyncio.gather(*(line.closed.wait() for line in node.lines))
    found = await asyncio.to_thread(rows, two, key, 60)
    assert {row["request_id"]: row["completion_tokens"] for row in found} == wanted
    assert {row["prompt_tokens"] for row in found} == {11}
    assert {row["status"] for row in found} == {499}
    assert {row["estimated"] for row in found} == {0}
    assert totals(two, key) == (60, sum(wanted.values()) + 60 * 11)
    assert places(two, key) == 0


async def leave_after(two: Two, key: str, name: str, count: int) -> None:
    """Read so many tokens of a stream and close the connection."""
    headers = {"Authorization": f"Bearer {key}", "x-request-id": name}
    body = chat(messages=[{"role": "user", "content": str(count)}], stream=True)
    url = f"{two[count % 2].url}/v1/chat/completions"
    async with (
        httpx.AsyncClient(headers=headers, timeout=60) as client,
        client.stream("POST", url, json=body) as answer,
    ):
        text = ""
        async for piece in answer.aiter_text():
            text += piece
            if (
                sum(bool(one["choices"][0]["delta"].get("content")) for one in events(text))
                == count
            ):
                return


async def test_a_model_has_a_limit_of_its_own(two: Two) -> None:
    admin = {"Authorization": f"Bearer {two[0].keys['admin']}"}
    where = f"{two[0].url}/api/v1/limits/model/org/deep/name"
    async with httpx.AsyncClient(headers=admin) as client:
        assert (await client.patch(where, json={"requests_per_minute": 2})).status_code == 200
        async with node_of(two, says(*ANSWER)):
            mine = (two[0], two[0])  # the process that was told knows at once
            answers = await flood(mine, two[0].keys["model"], 10, model="org/deep/name")
        assert passed(answers) == 2
        assert any("all callers" in answer.text for answer in answers)
        assert (await client.delete(where)).status_code == 204
