"""1,000 streams that break off at random, through two web processes: places come back, tokens are right.

Half of the clients leave when they have read all that was said, half of them somewhere on the way.
"""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from inference import wire
from tests import servers
from tests.inference.api.conftest import MODELS, chat
from tests.inference.api.test_exact_limits import Two, node_of, places, rows, totals
from tests.inference.scripted_node import Line

STREAMS, AT_ONCE, PROMPT = 1000, 50, 11
FREE_WITHIN_S = 30.0  # Source: the project's rules of trust


@dataclass(frozen=True, slots=True)
class Left:
    """A stream that was left: tokens that were read, tokens that were said."""

    read: int
    said: int
    all_read: bool


async def so_many(line: Line, question: Any) -> None:
    """Say as many tokens as the prompt asks for, then wait for the client to leave."""
    for n in range(int(question.body.prompt.messages[-1].content)):
        told = PROMPT if n == 0 else 0
        await line.send(wire.Delta(text=f"t{n} ", tokens=1, prompt_tokens=told))
    await line.closed.wait()


async def leave(client: httpx.AsyncClient, url: str, name: str, count: int, wanted: int) -> int:
    """Open a stream, leave it after so many tokens, and give those that were read."""
    body = chat(messages=[{"role": "user", "content": str(count)}], stream=True)
    read = 0
    async with client.stream(
        "POST", f"{url}/v1/chat/completions", json=body, headers={"x-request-id": name}
    ) as answer:
        answer.raise_for_status()
        if wanted:
            async for line in answer.aiter_lines():
                read += '"content":"t' in line.replace(" ", "")
                if read == wanted:
                    break
    return read


async def leave_all(two: Two, key: str, streams: int = STREAMS) -> dict[str, Left]:
    """Leave so many streams, in turn at both processes; give by request what became of each."""
    gate, found, dice = asyncio.Semaphore(AT_ONCE), dict[str, Left](), random.Random(7)
    headers = {"Authorization": f"Bearer {key}"}

    async def one(client: httpx.AsyncClient, number: int) -> None:
        said, all_read = dice.randint(1, 20), bool(number % 2)
        wanted = said if all_read else dice.randint(0, said)
        name, url = f"abort-{number}", two[number // 2 % 2].url
        async with gate:
            found[name] = Left(await leave(client, url, name, said, wanted), said, all_read)

    async with node_of(two, so_many), httpx.AsyncClient(headers=headers, timeout=60) as client:
        await asyncio.gather(*(one(client, number) for number in range(streams)))
    return found


def wait_free(two: Two, key: str) -> float:
    """Wait until no place is taken, and give how long that took."""
    ended_s = time.monotonic()
    while places(two, key) and time.monotonic() - ended_s < 2 * FREE_WITHIN_S:
        time.sleep(0.05)
    return time.monotonic() - ended_s


def wrong(found: dict[str, Left], noted: dict[str, int]) -> list[str]:
    """Name the requests whose row differs from what was served.

    What was on its way when a client left in the middle was served too.
    """
    return [
        name
        for name, left in found.items()
        if not (left.said if left.all_read else left.read) <= noted[name] <= left.said
    ]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    node = tmp_path_factory.mktemp("node") / "node.sock"
    limits = {"requests_per_minute": None, "concurrent_requests": 4 * AT_ONCE}
    config = tmp_path_factory.mktemp("config") / "hub.json"
    config.write_text(json.dumps({"rate_limits": limits}))
    with servers.hub(
        MODELS, keys={"leaver": {}}, node_address=f"unix:{node}", AI_HUB_CONFIG=str(config)
    ) as hub:
        yield hub, servers.another_web(hub)


async def test_no_place_is_stuck_and_each_row_says_what_was_served(two: Two) -> None:
    key = two[0].keys["leaver"]
    found = await leave_all(two, key)
    assert await asyncio.to_thread(wait_free, two, key) <= FREE_WITHIN_S
    rows_ = await asyncio.to_thread(rows, two, key, STREAMS)
    noted = {row["request_id"]: row["completion_tokens"] for row in rows_}
    assert noted.keys() == found.keys()
    assert wrong(found, noted) == []
    assert {row["prompt_tokens"] for row in rows_} <= {0, PROMPT}
    summed = sum(row["prompt_tokens"] + row["completion_tokens"] for row in rows_)
    assert totals(two, key) == (STREAMS, summed)
    assert {row["status"] for row in rows_} == {499}
