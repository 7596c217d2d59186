"""The router: one connection per question, kept when it was answered, closed when it was left."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from inference import errors, node_pulse, router, wire
from tests.inference.scripted_node import Line, scripted

SPEC = wire.ModelSpec(name="m", kind="llm", engine="fake", path="/m")
BODY = wire.Generate(prompt=wire.TextPrompt(text="hi"))
HELLO = [wire.Delta(text="he"), wire.Delta(text="llo", finish_reason="stop")]


@pytest.fixture
def socket_path(settings: Settings) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="node-") as folder:
        path = Path(folder) / "node.sock"
        settings.HUB_NODE_ADDRESS = f"unix:{path}"
        yield path


async def hello(line: Line, _question: wire.Any) -> None:
    await line.send(*HELLO, wire.Done())


async def ask() -> list[wire.Any]:
    async with router.open(SPEC, BODY, request_id="r") as answer:
        return [message async for message in answer]


async def test_it_gives_the_messages_in_order(socket_path: Path) -> None:
    async with scripted(socket_path, hello) as node:
        assert await ask() == [*HELLO, wire.Done()]
        assert node.questions == [
            wire.Submit(request_id="r", spec=SPEC, body=BODY, deadline_s=router.DEADLINE_S)
        ]


async def test_it_uses_a_connection_again(socket_path: Path) -> None:
    async with scripted(socket_path, hello) as node:
        for _ in range(3):
            await ask()
        assert len(node.lines) == 1


async def test_it_keeps_one_connection_for_each_answer_at_a_time(socket_path: Path) -> None:
    async with scripted(socket_path, hello) as node:
        await asyncio.gather(*(ask() for _ in range(5)))
        assert 1 <= len(node.lines) <= 5
        assert len(node.questions) == 5


async def test_leaving_early_closes_the_connection(socket_path: Path) -> None:
    async def endless(line: Line, _question: wire.Any) -> None:
        while not line.closed.is_set():
            await line.send(wire.Delta(text="x"))
            await asyncio.sleep(0)

    async with scripted(socket_path, endless) as node:
        async with router.open(SPEC, BODY, request_id="r") as answer:
            async for _ in answer:
                break
        await asyncio.wait_for(node.lines[0].closed.wait(), 5)


async def test_it_raises_what_a_failure_names(socket_path: Path) -> None:
    async def fails(line: Line, _question: wire.Any) -> None:
        failure = wire.Failure(code="queue_full", message="full", retry_after_s=3.0)
        await line.send(wire.Delta(text="he"), failure)

    async with scripted(socket_path, fails) as node:
        for _ in range(2):
            with pytest.raises(errors.QueueFull) as caught:
                await ask()
            assert caught.value.retry_after_s == 3.0
        assert len(node.lines) == 1


async def test_it_repeats_on_a_fresh_connection_before_the_first_frame(socket_path: Path) -> None:
    async def moody(line: Line, _question: wire.Any) -> None:
        if len(line.node.questions) == 2:
            line.hang_up()
        else:
            await line.send(*HELLO, wire.Done())

    async with scripted(socket_path, moody) as node:
        for _ in range(2):
            assert await ask() == [*HELLO, wire.Done()]
        assert len(node.questions) == 3
        assert len(node.lines) == 2


async def test_it_never_repeats_after_the_first_frame(socket_path: Path) -> None:
    async def dies(line: Line, _question: wire.Any) -> None:
        await line.send(HELLO[0])
        line.hang_up()

    async with scripted(socket_path, dies) as node:
        with pytest.raises(errors.EngineFailed):
            await ask()
        assert len(node.questions) == 1


async def test_it_gives_up_on_a_node_that_always_hangs_up(socket_path: Path) -> None:
    async def hangs_up(line: Line, _question: wire.Any) -> None:
        line.hang_up()

    async with scripted(socket_path, hangs_up) as node:
        with pytest.raises(errors.NodeUnavailable) as caught:
            await ask()
        assert caught.value.retry_after_s
        assert len(node.questions) == router.FRESH_TRIES


async def test_it_waits_for_a_node_that_restarts(socket_path: Path) -> None:
    asked = asyncio.create_task(ask())
    await asyncio.sleep(0)
    async with scripted(socket_path, hello):
        assert await asked == [*HELLO, wire.Done()]


async def test_it_gives_up_a_node_that_hangs_and_asks_it_no_more(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_pulse, "SILENT_S", 0.0)
    monkeypatch.setattr(node_pulse, "LOST_S", 0.0)
    monkeypatch.setattr(node_pulse, "TICK_S", 0.01)
    goes_on = asyncio.Event()

    async def hung(line: Line, question: wire.Any) -> None:
        await goes_on.wait()
        await (
            line.send(wire.Snapshot(at=0.0))
            if type(question) is wire.Watch
            else hello(line, question)
        )

    async with scripted(socket_path, hung) as node, asyncio.timeout(30):
        for _ in range(2):
            with pytest.raises(errors.NodeUnavailable, match="does not answer"):
                await ask()
        assert len(node.submitted) == 1
        goes_on.set()
        task = node_pulse.of(f"unix:{socket_path}")._task
        assert task
        await task
        assert await ask()


async def test_it_waits_for_a_node_that_is_only_busy_with_the_answer(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_pulse, "SILENT_S", 0.0)
    asked = asyncio.Semaphore(0)

    async def busy(line: Line, question: wire.Any) -> None:
        if type(question) is wire.Watch:
            await line.send(wire.Snapshot(at=0.0))
            asked.release()
            return
        for _ in range(3):
            await asked.acquire()
        await hello(line, question)

    async with (
        scripted(socket_path, busy),
        asyncio.timeout(60),
        router.open(SPEC, BODY, request_id="r", tick_s=0.02) as answer,
    ):
        assert [message async for message in answer] == [*HELLO, wire.Done()]


async def test_it_says_that_there_is_no_node(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_pulse, "RESTART_S", 0.1)
    heard: list[wire.Any] = []
    with pytest.raises(errors.NodeUnavailable) as caught:
        async with router.open(SPEC, BODY, request_id="r", tick_s=0.01) as answer:
            heard.extend([message async for message in answer])
    assert caught.value.retry_after_s


async def test_a_new_request_waits_for_a_node_that_has_just_gone(socket_path: Path) -> None:
    """Longer than a connection is tried for: the node comes when the request was told twice."""
    told = asyncio.Semaphore(0)

    async def wait() -> list[wire.Any]:
        heard: list[wire.Any] = []
        async with router.open(SPEC, BODY, request_id="r", tick_s=0.01) as answer:
            async for message in answer:
                heard.append(message)
                told.release()
        return heard

    async with asyncio.timeout(60):
        asked = asyncio.create_task(wait())
        for _ in range(router.CONNECT_TRIES + 1):
            await told.acquire()
        async with scripted(socket_path, hello) as node:
            heard = await asked
    assert router.AWAY in heard
    assert heard[-3:] == [*HELLO, wire.Done()]
    assert 0 < node.submitted[0].deadline_s < router.DEADLINE_S


async def test_it_waits_no_longer_for_a_node_than_its_deadline(socket_path: Path) -> None:
    async with asyncio.timeout(60):
        with pytest.raises(errors.NodeUnavailable):
            async with router.open(
                SPEC, BODY, request_id="r", deadline_s=0.05, tick_s=0.01
            ) as answer:
                assert [message async for message in answer]


async def test_a_node_that_stays_away_is_told_at_once(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulse = node_pulse.of(f"unix:{socket_path}")
    pulse.refused()
    assert 0 < pulse.patience_s <= node_pulse.RESTART_S
    pulse._gone_at -= node_pulse.RESTART_S
    assert not pulse.patience_s
    monkeypatch.setattr(router, "FIRST_PAUSE_S", 0.0)
    with pytest.raises(errors.NodeUnavailable):
        async with router.open(SPEC, BODY, request_id="r"):
            pass
    async with scripted(socket_path, hello):
        assert await ask()
    assert pulse.patience_s == node_pulse.RESTART_S


async def test_it_gives_an_empty_batch_while_nothing_comes(socket_path: Path) -> None:
    release = asyncio.Event()

    async def waits(line: Line, _question: wire.Any) -> None:
        await release.wait()
        await line.send(*HELLO, wire.Done())

    async with scripted(socket_path, waits):
        batches = []
        async with router.open(SPEC, BODY, request_id="r", tick_s=0.01) as answer:
            async for batch in answer.batches():
                batches.append(batch)
                release.set()
        assert batches[0] == []
        assert [m for batch in batches for m in batch] == [*HELLO, wire.Done()]


async def test_a_slow_reader_holds_back_the_node(socket_path: Path) -> None:
    sent = 0
    stopped = asyncio.Event()

    async def floods(line: Line, _question: wire.Any) -> None:
        nonlocal sent
        for _ in range(20_000):
            try:
                async with asyncio.timeout(0.5):
                    await line.send(wire.Delta(text="x" * 1000))
            except TimeoutError:
                stopped.set()
                return
            sent += 1

    async with scripted(socket_path, floods):
        async with router.open(SPEC, BODY, request_id="r") as answer:
            await anext(answer.batches())
            await asyncio.wait_for(stopped.wait(), 20)
        assert sent < 10_000


async def test_it_loads_unloads_and_watches(socket_path: Path) -> None:
    async def manages(line: Line, question: wire.Any) -> None:
        match question:
            case wire.Load():
                progress = wire.Progress(state="loading", loaded_bytes=1, total_bytes=2)
                await line.send(progress, wire.Loaded(memory_bytes=7))
            case wire.Unload():
                await line.send(wire.Done())
            case wire.Watch():
                await line.send(wire.Snapshot(at=1.0), wire.Snapshot(at=2.0))

    async with scripted(socket_path, manages):
        seen: list[wire.Progress] = []
        loaded = await router.load(SPEC, on_progress=seen.append)
        assert loaded.memory_bytes == 7
        assert seen[0].total_bytes == 2
        await router.unload("m")
        assert (await router.snapshot()).at == 1.0
        watched = router.watch(0.01)
        assert [(await anext(watched)).at, (await anext(watched)).at] == [1.0, 2.0]
        await watched.aclose()
