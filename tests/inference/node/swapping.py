"""Two clients that swap two models at once where one has room, while engines and the node are killed."""

import asyncio
import contextlib
import os
import random
import signal
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psutil

from inference import router, wire
from inference.errors import HubError
from tests.inference.node import nodes
from tests.inference.node.nodes import Node

MB = 1024 * 1024
ROUNDS, KILLS, NODE_KILLS = 100, 8, 2
LIMIT_BYTES = 200 * MB  # each model takes 40 + 100
SEED = 7
BOTH_S = 60.0  # so long after a kill both models must have answered
BODY = wire.Generate(prompt=wire.TextPrompt(text="one two"), sampling=wire.Sampling(max_tokens=2))


@dataclass(frozen=True)
class Pair:
    """Two models that are swapped: how they are asked, how the node is started, what is killed and when."""

    specs: Mapping[str, wire.ModelSpec]  # of "a" and "b"
    options: Mapping[str, float]  # of the node
    body: wire.Generate
    right: Callable[[list[Any]], bool]
    rounds: int = ROUNDS
    kills: int = KILLS
    node_kills: int = NODE_KILLS
    pause_s: tuple[float, float] = (0.1, 0.9)  # from both models' answers to the next kill


class Watcher:
    """Looks at the processes all the time: never two engines, never above the limit."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.most_engines = self.most_bytes = self.looks = 0

    def look(self) -> None:
        sizes: list[int] = []
        with contextlib.suppress(psutil.Error):
            alive = [e for e in self.node.engines() if e.status() != psutil.STATUS_ZOMBIE]
            sizes = [engine.memory_info().rss for engine in alive]
        self.most_engines = max(self.most_engines, len(sizes))
        self.most_bytes = max(self.most_bytes, sum(sizes))
        self.looks += 1

    async def run(self) -> None:
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(0.02)


class Served:
    """Counts answers by model, and lets the killer wait for the next ones."""

    def __init__(self) -> None:
        self.counts = {"a": 0, "b": 0}
        self.failures: list[HubError] = []
        self._changed = asyncio.Condition()

    async def next(self) -> str:
        """Wait for the next answer, and name its model."""
        before = dict(self.counts)
        async with self._changed:
            await self._changed.wait_for(lambda: self.counts != before)
        return next(name for name in before if self.counts[name] > before[name])

    async def note(self, name: str) -> None:
        async with self._changed:
            self.counts[name] += 1
            self._changed.notify_all()

    async def both_again(self) -> None:
        """Wait until each model has answered once more."""
        before = dict(self.counts)
        async with self._changed:
            await self._changed.wait_for(
                lambda: all(self.counts[name] > before[name] for name in before)
            )


async def swap(names: list[str], pair: Pair, served: Served, killing: "asyncio.Task[Any]") -> None:
    """Ask the models in turn until all kills are done; a request that a kill ended is asked again."""
    at = 0
    while at < pair.rounds or not killing.done():
        name = names[at % 2]
        while not await answered(name, pair, served):  # noqa: ASYNC110 (a client's own pause)
            await asyncio.sleep(0.05)
        await served.note(name)
        at += 1


async def answered(name: str, pair: Pair, served: Served) -> bool:
    try:
        async with router.open(pair.specs[name], pair.body, request_id="r") as answer:
            heard = [message async for message in answer]
    except HubError as error:
        served.failures.append(error)
        return False
    assert pair.right(heard)
    return True


@dataclass(frozen=True)
class Recovery:
    """Seconds from a kill until a model answered (`first`), and until both had."""

    act: str
    first: str
    first_s: float
    both_s: float


async def chaos(
    pair: Pair, watcher: Watcher, start: Callable[[], Node], served: Served
) -> list[Recovery]:
    """Kill engines, and the node, at random moments."""
    random_, found = random.Random(SEED), []
    acts = [*["engine"] * pair.kills, *["node"] * pair.node_kills]
    random_.shuffle(acts)
    for act in acts:
        await asyncio.sleep(random_.uniform(*pair.pause_s))
        found.append(await recovery(act, watcher, start, served))
    return found


async def recovery(
    act: str, watcher: Watcher, start: Callable[[], Node], served: Served
) -> Recovery:
    killed_s = time.monotonic()
    await kill(act, watcher, start)
    both = asyncio.create_task(served.both_again())
    async with asyncio.timeout(BOTH_S):
        first = await served.next()
        first_s = time.monotonic() - killed_s
        await both
    return Recovery(act, first, first_s, time.monotonic() - killed_s)


async def kill(act: str, watcher: Watcher, start: Callable[[], Node]) -> None:
    if act == "node":
        os.kill(watcher.node.process.pid, signal.SIGKILL)
        watcher.node.process.wait()
        watcher.node = await asyncio.to_thread(start)
        return
    for engine in watcher.node.engines():
        with contextlib.suppress(psutil.Error):
            engine.kill()


@dataclass(frozen=True)
class Outcome:
    served: Served
    watcher: Watcher
    recoveries: list[Recovery]
    whole_s: float
    load_s: Mapping[str, float] = field(default_factory=dict)  # of each model, nothing else asked

    @property
    def took_s(self) -> list[float]:
        """From each kill until both models had answered again."""
        return [recovery.both_s for recovery in self.recoveries]


def fakes() -> Pair:
    """Two that load at once, on a node that lets none stay."""
    return Pair(
        {name: nodes.fake(name, memory_bytes=100 * MB) for name in ("a", "b")},
        {"memory_limit_bytes": LIMIT_BYTES, "min_residency_s": 0, "patience_s": 0.05},
        BODY,
        lambda heard: nodes.text(heard) == "one two",
    )


async def rounds(start: Callable[..., Node], pair: Pair, *, timed_loads: int = 0) -> Outcome:
    """Run the whole of it; `start` takes the options of a node, and is called again after its kills."""

    def begin() -> Node:
        return start(**pair.options)

    began_s = time.monotonic()
    watcher, served = Watcher(begin()), Served()
    load_s = await load_times(watcher.node, pair, timed_loads)
    watching = asyncio.create_task(watcher.run())
    killing = asyncio.create_task(chaos(pair, watcher, begin, served))
    clients = (swap(names, pair, served, killing) for names in (["a", "b"], ["b", "a"]))
    await asyncio.gather(*clients)
    watching.cancel()
    whole_s = time.monotonic() - began_s
    return Outcome(served, watcher, killing.result(), whole_s, load_s)


async def load_times(node: Node, pair: Pair, times: int) -> dict[str, float]:
    """Give the median seconds of a load of each, of so many behind a first one."""
    found: dict[str, float] = {}
    for name, spec in pair.specs.items() if times else ():
        took_s = [await load_time(node, spec) for _ in range(times + 1)][1:]
        found[name] = statistics.median(took_s)
    return found


async def load_time(node: Node, spec: wire.ModelSpec) -> float:
    began_s = time.monotonic()
    loaded = await nodes.ask(node, wire.Load(spec=spec, deadline_s=BOTH_S))
    took_s = time.monotonic() - began_s
    assert isinstance(loaded[-1], wire.Loaded), loaded[-1]
    await nodes.ask(node, wire.Unload(model=spec.name, force=True))
    return took_s
