"""An engine that takes more memory than it was given is ended with the reason, and nobody else is touched."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from inference import wire
from inference.engines.base import failed, is_out_of_memory
from inference.errors import EngineFailed, EngineOutOfMemory
from inference.node.containment import FRESH_S, OomWatch, oom_kills
from inference.node.devices import Device
from inference.node.memory import placements
from inference.node.peaks import Peaks
from tests.inference.engines import tiny_models
from tests.inference.node import nodes
from tests.inference.node.nodes import Node, ask, fake, generate, status, text

MB = 1024 * 1024
CPU = Device("cpu", "", 1 << 40, 1 << 40, 1 << 40)


async def test_an_engine_that_outgrows_its_memory_is_ended_and_said_why(node: Node) -> None:
    greedy = fake("greedy", eat_bytes=400 * MB, tokens_per_s=20)
    other = fake("modest", tokens_per_s=50)
    async with node.talk() as first, node.talk() as second:
        second.send(generate(other, "go on", 200))
        await second.until(wire.Delta)
        first.send(generate(greedy, "x", 1_000_000))
        await first.until(wire.Delta)
        failure = (await first.rest())[-1]
        assert failure.code == "out_of_memory"
        told = r"the engine of greedy used \d+ MB of main memory, was given 31.5 MB, and was ended"
        assert re.fullmatch(told, failure.message)
        assert isinstance((await second.rest())[-1], wire.Done)
    assert (await status(node, "modest", lambda m: m.state == "ready")).failures_total == 0


async def test_one_that_outgrows_it_while_loading_tells_those_who_wait(node: Node) -> None:
    spec = fake("swollen", eat_load_bytes=500 * MB, load_s=30.0)
    failure = (await ask(node, generate(spec, "x")))[-1]
    assert failure.code == "out_of_memory"
    assert failure.retry_after_s
    shown = await status(node, "swollen", lambda m: m.state == "failed")
    assert "was given" in shown.reason


async def test_a_request_for_which_there_is_no_memory_fails_alone(node: Node) -> None:
    spec = fake("huge", eat_bytes=1 << 60)
    assert (await ask(node, generate(spec, "x", 5)))[-1].code == "out_of_memory"
    assert (await status(node, "huge", lambda m: m.state == "ready")).loads_total == 1


async def test_a_claim_that_was_too_small_is_learned_from(tmp_path: Path) -> None:
    """A real model whose remembered need is wrong: it is ended once, and then given what it takes."""
    folder = tiny_models.make(tmp_path / "tiny", "llama")
    spec = wire.ModelSpec(name="t", kind="llm", engine="llm_transformers", path=str(folder))
    (tmp_path / "state").mkdir()
    Peaks(tmp_path / "state" / "peaks.json").remember(spec, "cpu", 20 * MB)
    node = nodes.start(tmp_path)
    try:
        refused = (await ask(node, wire.Load(spec=spec)))[-1]
        assert refused.code == "out_of_memory"
        async with asyncio.timeout(nodes.WAIT_S):
            while isinstance(end := (await ask(node, wire.Load(spec=spec)))[-1], wire.Failure):  # noqa: ASYNC110
                await asyncio.sleep(end.retry_after_s or 0.1)  # as a client does that is told to
    finally:
        nodes.stop(node)


def test_what_leaks_does_not_end_in_a_model_that_never_fits(
    start: Callable[..., Node], tmp_path: Path
) -> None:
    node = start()
    spec = fake("leaking", eat_bytes=900 * MB, tokens_per_s=20)
    (before,) = placements(spec, [CPU], Peaks(tmp_path / "none.json"))
    failure = asyncio.run(ask(node, generate(spec, "x", 1_000_000)))[-1]
    assert failure.code == "out_of_memory"
    (after,) = placements(spec, [CPU], Peaks(tmp_path / "state" / "peaks.json"))
    assert before.claim["cpu"] < after.claim["cpu"] <= 2 * before.claim["cpu"]


async def test_the_kernel_is_shown_engines_first(node: Node) -> None:
    assert text(await ask(node, generate(fake("offered"), "hi", 1))) == "hi"
    scores = [
        int(Path(f"/proc/{engine.pid}/oom_score_adj").read_text())  # noqa: ASYNC240 (a kernel's file)
        for engine in node.engines()
    ]
    own = int(Path(f"/proc/{node.process.pid}/oom_score_adj").read_text())  # noqa: ASYNC240
    assert min(scores) > own


async def test_a_model_that_keeps_crashing_is_refused_and_an_operator_tries_it(
    start: Callable[..., Node],
) -> None:
    node = start(crash_limit=2)
    crashing = fake("crashing", crash_after_tokens=0)
    ends = [(await ask(node, generate(crashing, "x")))[-1] for _ in range(2)]
    assert {end.code for end in ends} <= {"answer_interrupted", "model_crashing"}
    refused = (await ask(node, generate(crashing, "x")))[-1]
    assert refused.code == "model_crashing"
    assert refused.retry_after_s > 1
    assert (await status(node, "crashing", lambda _: True)).breaker == "open"
    assert isinstance((await ask(node, wire.Load(spec=crashing)))[-1], wire.Loaded)
    assert (await status(node, "crashing", lambda m: m.state == "ready")).breaker == "closed"


@pytest.mark.parametrize(
    "take", [lambda: b"x" * (1 << 60), lambda: torch.zeros(1 << 50), lambda: bytearray(1 << 60)]
)
def test_a_want_of_memory_is_told_from_other_faults(take: Callable[[], object]) -> None:
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        take()
    assert is_out_of_memory(caught.value)
    assert isinstance(failed(caught.value, "this step"), EngineOutOfMemory)


def test_other_faults_are_not_taken_for_a_want_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(2) @ torch.zeros(3)
    assert not is_out_of_memory(caught.value)
    assert type(failed(caught.value, "this step")) is EngineFailed


def test_only_what_the_kernel_killed_just_now_counts() -> None:
    assert oom_kills() >= 0
    watch = OomWatch()
    watch.look(7, 10.0)
    assert not watch.is_fresh(10.0)
    watch.look(8, 11.0)
    assert watch.is_fresh(11.0 + FRESH_S)
    watch.look(8, 20.0)
    assert not watch.is_fresh(20.0)


async def test_the_kernel_refuses_at_once_what_is_far_too_much(node: Node) -> None:
    """Before the node has looked: the request fails, its engine goes on, and so do others."""
    spec, mine = fake("vast", eat_bytes=6_000 * MB), fake("spared", tokens_per_s=50)
    async with node.talk() as other:
        other.send(generate(mine, "go on", 40))
        await other.until(wire.Delta)
        failure = (await ask(node, generate(spec, "x", 5)))[-1]
        assert failure.code == "out_of_memory"
        told = r"there was not enough memory for this step \(its process may set aside \d\.\d GB\)"
        assert re.match(told, failure.message)
        assert isinstance((await other.rest())[-1], wire.Done)
    assert (await status(node, "vast", lambda m: m.state == "ready")).loads_total == 1


async def test_an_engine_that_dies_of_it_is_said_to(node: Node) -> None:
    """As libraries in C++ do."""
    words = "terminate called after throwing an instance of 'std::bad_alloc'"
    spec = fake("native", crash_after_tokens=1, last_words=words, tokens_per_s=20)
    failure = (await ask(node, generate(spec, "x")))[-1]
    assert failure.code == "out_of_memory"
    assert re.search(r"asked for more main memory than the \d+ MB that", failure.message)


async def test_it_refuses_it_while_loading_too(start: Callable[..., Node], tmp_path: Path) -> None:
    node = start()
    spec = fake("vast", eat_load_bytes=6_000 * MB)
    (before,) = placements(spec, [CPU], Peaks(tmp_path / "none.json"))
    failure = (await ask(node, generate(spec, "x")))[-1]
    assert failure.code == "out_of_memory"
    assert "to load it (its process may set aside" in failure.message
    (after,) = placements(spec, [CPU], Peaks(tmp_path / "state" / "peaks.json"))
    assert before.claim["cpu"] < after.claim["cpu"]
    assert text(await ask(node, generate(fake("other"), "hi", 1))) == "hi"
