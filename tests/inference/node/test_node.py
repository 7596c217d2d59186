"""A node with real engine processes: load on demand, stream, queue, unload, refuse."""

import asyncio
from collections.abc import Callable

import msgspec
import psutil
import pytest

from inference import wire
from tests.inference.node.nodes import WAIT_S, Node, ask, fake, generate, status, text, watching


async def test_it_loads_on_demand_and_streams(node: Node) -> None:
    frames = await ask(node, generate(fake("first", load_s=0.2), "one two three", 5))
    assert isinstance(frames[0], wire.Progress)
    assert text(frames) == "one two three one two"
    done = frames[-1]
    assert isinstance(done, wire.Done)
    assert done.usage == wire.Usage(prompt_tokens=3, completion_tokens=5)
    assert done.timing.queue_s >= done.timing.load_s > 0.2


async def test_every_page_shows_the_same_load_time(node: Node) -> None:
    told = (await ask(node, wire.Load(spec=fake("timed", load_s=0.1))))[-1]
    ready = await status(node, "timed", lambda m: m.state == "ready")
    assert "chat" in ready.capabilities
    async with watching(node) as snapshots:
        found = [d for d in (await anext(snapshots)).decisions if d.model == "timed"]
    assert ready.load_s == told.load_s > 0.1
    assert [d.reason for d in found] == [f"ready after {told.load_s:.1f} s"]
    assert found[0].detail == "asked for by an operator"


@pytest.mark.parametrize("by_an_operator", [False, True])
async def test_a_request_brings_the_company_of_its_model(
    start: Callable[..., Node], by_an_operator: bool
) -> None:
    node = start(always_together="pair,other")
    load, submit = wire.Load(spec=fake("pair")), generate(fake("pair"), "a b", 2)
    question = load if by_an_operator else submit
    answer = await ask(node, msgspec.structs.replace(question, companions=[fake("other")]))
    assert isinstance(answer[-1], wire.Loaded if by_an_operator else wire.Done)
    await status(node, "other", lambda m: m.state == "ready")
    async with watching(node) as snapshots:
        told = [d.detail for d in (await anext(snapshots)).decisions if d.model == "other"]
    assert told == ["always together with pair"]


async def test_a_loaded_model_answers_without_a_wait(node: Node) -> None:
    spec = fake("warm")
    async with node.talk() as talk:
        await talk.ask(wire.Load(spec=spec))
        for words in ("a b", "c d"):
            frames = await talk.ask(generate(spec, words, 2))
            assert [type(frame) for frame in frames] == [wire.Delta, wire.Delta, wire.Done]
            assert text(frames) == words
            assert frames[-1].timing.load_s == 0.0


async def test_it_answers_every_kind_of_question(node: Node) -> None:
    spec = fake("kinds")

    def submit(body: wire.Body) -> wire.Submit:
        return wire.Submit(request_id="r", spec=spec, body=body)

    vectors = (await ask(node, submit(wire.Embed(inputs=["a", "b"], dimensions=4))))[-2]
    assert (vectors.rows, vectors.dimensions, len(vectors.data)) == (2, 4, 32)
    spoken = await ask(node, submit(wire.Transcribe(audio=b"abc")))
    assert "".join(f.text for f in spoken if isinstance(f, wire.Segment)) == " 3 bytes of audio"
    assert isinstance((await ask(node, submit(wire.Probe())))[-1], wire.Done)


async def test_it_loads_and_unloads_for_an_operator(node: Node) -> None:
    spec = fake("mine", memory_bytes=30_000_000)
    loaded = (await ask(node, wire.Load(spec=spec)))[-1]
    assert isinstance(loaded, wire.Loaded)
    ready = await status(node, "mine", lambda m: m.memory_bytes > 30_000_000)
    assert ready.state == "ready"
    assert ready.claim_bytes >= ready.memory_bytes > 30_000_000
    before = len(node.engines())
    assert isinstance((await ask(node, wire.Unload(model="mine")))[-1], wire.Done)
    assert len(node.engines()) == before - 1
    assert (await ask(node, wire.Unload(model="mine")))[-1].code == "conflict"


async def test_it_says_why_a_model_cannot_be_loaded(node: Node) -> None:
    broken = wire.ModelSpec(name="no", kind="llm", engine="llm_gguf", path="/nowhere.gguf")
    failure = (await ask(node, generate(broken, "a")))[-1]
    assert failure.code == "model_load_failed"
    assert "/nowhere.gguf" in failure.message
    failure = (await ask(node, generate(fake("bad", fail_load="it is torn"), "a")))[-1]
    assert (failure.code, failure.message) == ("model_load_failed", "it is torn")
    assert failure.retry_after_s
    assert (await status(node, "bad", lambda _: True)).failures_total == 1


async def test_it_queues_what_an_engine_cannot_take_and_sheds_the_rest(node: Node) -> None:
    spec = fake("narrow", max_concurrency=1, max_queue=1, tokens_per_s=50)
    async with node.talk() as busy, node.talk() as next_one, node.talk() as late:
        busy.send(generate(spec, "x", 100_000))
        await busy.until(wire.Delta)
        next_one.send(generate(spec, "queued", 1))
        waits = await next_one.until(wire.Progress)
        assert (waits.state, waits.position) == ("queued", 1)
        assert "busy with 1" in waits.reason
        assert (await late.ask(generate(spec, "y", 1)))[-1].code == "queue_full"
        busy.writer.close()
        assert text(await next_one.rest()) == "queued"


async def test_the_answers_of_100_streams_do_not_cross(node: Node) -> None:
    spec = fake("many", max_concurrency=100, tokens_per_s=200)

    async def one(number: int) -> None:
        words = " ".join(f"w{number}x{place}" for place in range(7))
        assert text(await ask(node, generate(spec, words, 14))) == f"{words} {words}"

    await asyncio.gather(*(one(number) for number in range(100)))


async def test_a_client_that_leaves_stops_the_tokens(node: Node) -> None:
    spec = fake("left", tokens_per_s=100)
    async with node.talk() as talk:
        talk.send(generate(spec, "on and on", 1_000_000))
        await talk.until(wire.Delta)
        await status(node, "left", lambda m: m.running == 1)
    stopped = await status(node, "left", lambda m: m.running == 0 and m.cancelled_total == 1)
    assert 0 < stopped.completion_tokens_total < 1_000_000
    frames = await ask(node, generate(spec, "next", 1))
    after = await status(node, "left", lambda m: m.requests_total == 2)
    assert after.completion_tokens_total == stopped.completion_tokens_total + 1
    assert text(frames) == "next"


async def test_a_client_that_leaves_ends_the_load_it_waited_for(node: Node) -> None:
    before = len(node.engines())
    async with node.talk() as talk:
        talk.send(wire.Load(spec=fake("unwanted", load_s=600.0)))
        while (await talk.until(wire.Progress)).state != "loading":
            pass
    await status(node, "unwanted", lambda m: m.state == "cold")
    assert len(node.engines()) == before


async def test_a_client_that_does_not_read_is_cut_off_alone(node: Node) -> None:
    spec = fake("flood", reply="x" * 5_000, max_concurrency=2)
    async with node.talk() as deaf:
        deaf.send(generate(spec, "", 50_000_000))
        await deaf.until(wire.Delta)
        cut = await status(node, "flood", lambda m: m.cancelled_total == 1 and m.running == 0)
        assert cut.waiting == 0
        assert len(text(await ask(node, generate(spec, "", 100)))) == 100 * 5_001 - 1
    assert psutil.Process(node.process.pid).memory_info().rss < 300_000_000


async def test_a_client_that_sends_rubbish_is_hung_up_on_alone(node: Node) -> None:
    async with node.talk() as rude, node.talk() as good:
        rude.writer.write(b"\xff" * 64)
        async with asyncio.timeout(WAIT_S):
            assert await rude.reader.read() == b""
        assert text(await good.ask(generate(fake("warm"), "fine", 1))) == "fine"


async def test_it_unloads_the_idle(start: Callable[..., Node]) -> None:
    node = start(auto_unload_timeout_s=0.5)
    await ask(node, generate(fake("idle"), "a", 1))
    gone = await status(node, "idle", lambda m: m.state == "cold")
    assert (gone.loads_total, gone.requests_total) == (1, 1)
    assert node.engines() == []
    assert text(await ask(node, generate(fake("idle"), "again", 1))) == "again"


async def test_it_keeps_to_its_memory(start: Callable[..., Node]) -> None:
    limit = 260_000_000
    node = start(memory_limit_bytes=limit, min_residency_s=0)
    sizes = {"a": 80_000_000, "b": 80_000_000, "c": 150_000_000}
    over: list[wire.Snapshot] = []

    async def guard() -> None:
        async with watching(node, 0.05) as snapshots:
            async for snapshot in snapshots:
                claims = sum(model.claim_bytes for model in snapshot.models)
                if max(claims, snapshot.devices[0].used_bytes) > limit:
                    over.append(snapshot)

    watcher = asyncio.create_task(guard())
    for name in ("a", "b", "c", "a", "c", "b"):
        frames = await ask(node, generate(fake(name, memory_bytes=sizes[name]), name, 1))
        assert text(frames) == name
    watcher.cancel()
    assert not over
    refused = (await ask(node, generate(fake("huge", memory_bytes=limit), "x")))[-1]
    assert refused.code == "insufficient_memory"


async def test_it_replaces_a_model_by_its_new_version(node: Node) -> None:
    await ask(node, generate(fake("versioned", reply="old"), "x", 1))
    new = fake("versioned", reply="new", version="2")
    assert text(await ask(node, generate(new, "x", 1))) == "new"
    await status(node, "versioned", lambda m: m.version == "2" and m.state == "ready")


async def test_it_tells_how_a_model_did(node: Node) -> None:
    spec = fake("told")
    for words in ("a b c", "d e f"):
        await ask(node, generate(spec, words, 3))
    await ask(node, generate(fake("torn", fail_load="it is torn"), "a", 1))
    course = (await ask(node, wire.AskCourse(model="told")))[-1]
    assert isinstance(course, wire.Course)
    assert (course.whole.requests, course.whole.failures) == (2, 0)
    assert course.whole.completion_tokens == 6
    assert course.whole.first_p50_s is not None
    assert course.since <= course.steps[0].at + course.step_s
    torn = (await ask(node, wire.AskCourse(model="torn")))[-1]
    assert (torn.whole.requests, torn.whole.failures) == (1, 1)
