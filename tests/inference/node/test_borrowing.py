"""A real node lends memory to a real process: models leave for it, and it leaves for requests."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from pytest_django import Settings

from inference import reservations, router, wire
from inference.errors import InvalidValue, NodeUnavailable
from tests.inference.node import nodes
from tests.inference.node.nodes import Node

MB = 1024 * 1024
TRAINING = (
    "import sys; held = bytearray(120 << 20); held[::4096] = b'x' * len(held[::4096]);"
    " print('there', flush=True); sys.stdin.read()"
)
BODY = wire.Generate(prompt=wire.TextPrompt(text="one two"), sampling=wire.Sampling(max_tokens=2))
WAIT_S = 60.0
T = TypeVar("T")


@pytest.fixture
def node(tmp_path: Path, settings: Settings) -> Iterator[Node]:
    node = nodes.start(tmp_path, device="cpu", memory_limit_bytes=300 * MB, min_residency_s=0)
    settings.HUB_NODE_ADDRESS = f"unix:{node.path}"
    yield node
    nodes.stop(node)


@pytest.fixture
def training() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that holds 120 MiB."""
    process = subprocess.Popen(
        [sys.executable, "-c", TRAINING], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout
    process.stdout.readline()
    yield process
    process.communicate()


def model(name: str = "a") -> wire.ModelSpec:
    return wire.ModelSpec(
        name=name, kind="llm", engine="fake", path="", options={"memory_bytes": 100 * MB}
    )


def wish(**values: object) -> wire.Reserve:
    base: dict[str, object] = {"id": "job1", "label": "first", "claim_bytes": 220 * MB}
    return wire.Reserve(**(base | values))  # type: ignore[arg-type]


async def ask(name: str = "a") -> None:
    async with router.open(model(name), BODY, request_id="r", deadline_s=WAIT_S) as answer:
        async for _ in answer:
            pass


async def until(found: reservations.Reservation, kind: type[T]) -> T:
    async for message in found:
        if isinstance(message, kind):
            return message
    raise AssertionError(kind)


async def test_it_swaps_models_and_a_training(node: Node) -> None:
    """An idle model leaves for the training, which yields to a request and comes back later."""
    await ask()
    async with asyncio.timeout(WAIT_S), reservations.reserve(wish(is_preemptible=True)) as first:
        granted = await until(first, wire.Granted)
        assert (granted.device, granted.claim_bytes) == ("cpu", 220 * MB)
        assert not node.engines()
        asked = asyncio.create_task(ask())
        told = await until(first, wire.Yield)
        assert "wanted by a" in told.reason
        state = await router.snapshot()
        assert [one.state for one in state.reservations] == ["yielding"]
        assert not node.engines()
    await asked
    assert len(node.engines()) == 1
    async with asyncio.timeout(WAIT_S), reservations.reserve(wish(is_preemptible=True)) as again:
        await until(again, wire.Granted)
        assert not node.engines()
    actions = [one.action for one in (await router.snapshot()).decisions]
    assert actions.count("reserve") == 2
    assert "yield" in actions


async def test_what_the_training_holds_is_the_hubs(
    node: Node, training: "subprocess.Popen[bytes]"
) -> None:
    async with asyncio.timeout(WAIT_S), reservations.reserve(wish()) as found:
        await until(found, wire.Granted)
        found.resize(claim_bytes=150 * MB, pid=training.pid)
        async for state in router.watch(0.1):
            if state.reservations[0].memory_bytes > 100 * MB:
                break
        assert state.reservations[0].claim_bytes == 150 * MB
        assert state.devices[0].used_bytes > 100 * MB
        planned = await reservations.plan_reservation(wish(claim_bytes=10 * MB))
        assert planned.free_bytes == 150 * MB - state.devices[0].others_bytes
    async with asyncio.timeout(WAIT_S):
        async for state in router.watch(0.1):
            if not state.reservations:
                return


async def test_it_says_what_cannot_be_reserved(node: Node) -> None:
    for bad in (wish(claim_bytes=0), wish(device="cuda:3")):
        with pytest.raises(InvalidValue):
            async with reservations.reserve(bad) as found:
                await until(found, wire.Granted)
    await ask()
    planned = await reservations.plan_reservation(wish())
    assert planned.verdict == "fits_after_unloading"
    assert [victim.name for victim in planned.victims] == ["a"]


def test_threads_hold_memory_too(node: Node) -> None:
    """The supervisor of trainings has no event loop."""
    with reservations.Held(wish()) as held:
        assert isinstance(held.next(WAIT_S), wire.Granted)
        assert held.next(0.0) is None
        held.resize(claim_bytes=50 * MB)
        with reservations.Held(wish(id="job2", claim_bytes=200 * MB)) as second:
            news = second.next(WAIT_S)
            while isinstance(news, wire.Progress):
                news = second.next(WAIT_S)
            assert isinstance(news, wire.Granted)
        node.process.terminate()
        with pytest.raises(NodeUnavailable):
            held.next(WAIT_S)
        with pytest.raises(NodeUnavailable):
            held.next(WAIT_S)
