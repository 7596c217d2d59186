"""A request that waits is told its deadline, its place, the time left and, if it may know, the reason."""

import asyncio

import httpx
import pytest

from inference import wire
from inference.api.waiting import Wait
from inference.errors import DeadlineExceeded, LoadFailed
from tests import servers
from tests.inference.scripted_node import Line

from .conftest import Nodes, chat, says

LOADING = wire.Progress(
    state="loading",
    position=2,
    reason="chat is loading",
    eta_s=9.4,
    loaded_bytes=25,
    total_bytes=100,
)
ANSWER = (wire.Delta(text="Hi", tokens=1, finish_reason="stop"), wire.Done())


async def streamed_wait(
    client: httpx.AsyncClient, node: Nodes, headers: dict[str, str]
) -> tuple[httpx.Headers, str]:
    """Give the headers and the first line of a stream that starts while it waits."""
    seen = asyncio.Event()

    async def loads(line: Line, _question: wire.Any) -> None:
        await line.send(LOADING)
        await seen.wait()
        await line.send(*ANSWER)

    asked = client.stream("POST", "/chat/completions", json=chat(stream=True), headers=headers)
    async with node(loads), asked as answer:
        first = await anext(answer.aiter_lines())
        seen.set()
        return answer.headers, first


async def test_a_stream_that_waits_names_its_place(client: httpx.AsyncClient, node: Nodes) -> None:
    headers, first = await streamed_wait(client, node, {"x-hub-deadline-ms": "60000"})
    assert first == ": loading, 25 %, position 2, about 9 s"
    assert headers["x-hub-deadline-ms"] == "60000"
    assert headers["x-hub-queue-state"] == "loading"
    assert headers["x-hub-queue-position"] == "2"
    assert headers["x-hub-queue-eta-ms"] == "9400"
    assert "x-hub-queue-reason" not in headers


async def test_who_may_watch_queues_hears_the_reason(
    web: servers.Hub, client: httpx.AsyncClient, node: Nodes
) -> None:
    key = {"Authorization": f"Bearer {web.keys['watcher']}"}
    headers, first = await streamed_wait(client, node, key)
    assert first == ": loading, 25 %, position 2, about 9 s: chat is loading"
    assert headers["x-hub-queue-reason"] == "chat is loading"


async def test_a_whole_answer_says_how_long_it_waited(
    client: httpx.AsyncClient, node: Nodes
) -> None:
    async with node(says(LOADING, *ANSWER)):
        answer = await client.post("/chat/completions", json=chat())
    assert answer.status_code == 200
    assert int(answer.headers["x-hub-queue-ms"]) >= 0
    assert answer.headers["x-hub-deadline-ms"] == "300000"
    assert "x-hub-queue-position" not in answer.headers


async def test_an_answer_at_once_has_no_word_of_waiting(
    client: httpx.AsyncClient, node: Nodes
) -> None:
    async with node(says(*ANSWER)):
        answer = await client.post("/chat/completions", json=chat())
    assert not [name for name in answer.headers if name.startswith("x-hub-")]


async def test_the_node_is_told_the_deadline(client: httpx.AsyncClient, node: Nodes) -> None:
    async with node(says(*ANSWER)) as started:
        await client.post("/chat/completions", json=chat(), headers={"x-hub-deadline-ms": "1500"})
    assert started.submitted[0].deadline_s == pytest.approx(1.5)


@pytest.mark.parametrize("given", ["0", "-5", "soon", "3600001", "1e3", "9" * 40])
async def test_a_deadline_that_is_none_is_refused(client: httpx.AsyncClient, given: str) -> None:
    answer = await client.post(
        "/chat/completions", json=chat(), headers={"x-hub-deadline-ms": given}
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "x-hub-deadline-ms"


def test_the_targets_of_a_route_share_one_deadline() -> None:
    """The time that an engine computed is no wait."""
    now_s, failed = [100.0], LoadFailed("no chat", retry_after_s=7.0)
    wait = Wait(10.0, clock=lambda: now_s[0])

    def fails_after(*steps: tuple[wire.Progress | None, float]) -> float:
        wait.begin()
        for message, seconds in steps:
            if message is not None:
                wait.note(message)
            now_s[0] += seconds
        wait.again(failed)
        return wait.left_s

    assert wait.left_s == 10.0
    assert fails_after((LOADING, 4.0)) == 6.0
    assert fails_after((LOADING, 1.0), (wire.Progress(state="running"), 100.0)) == 5.0
    assert fails_after((None, 100.0)) == 5.0
    assert fails_after((LOADING, 9.0)) == 0.0
    with pytest.raises(DeadlineExceeded, match="no chat") as late:
        wait.begin()
    assert late.value.retry_after_s == 7.0
