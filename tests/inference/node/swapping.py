"""Two clients that swap two models at once where one has room, while engines and the node are killed."""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import psutil

from inference import router, wire
from inference.errors import HubError
from tests.inference.node import nodes
from tests.inference.node.nodes import Node

MB = 1024 * 1024
ROUNDS, KILLS, NODE_KILLS = 100, 8, 2
LIMIT_BYTES = 200 * MB  # each model takes 40 + 100
SEED = 7
BODY = wire.Generate(prompt=wire.TextPrompt(text="one two"), sampling=wire.Sampling(max_tokens=2))


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


async def swap(names: list[str], served: Served) -> None:
    """Ask the models in turn; a request that a kill ended is counted and asked again."""
    for at in range(ROUNDS):
        name = names[at % 2]
        while not await answered(name, served):  # noqa: ASYNC110 (a client's own pause)
            await asyncio.sleep(0.05)
        await served.note(name)


async def answered(name: str, served: Served) -> bool:
    try:
        async with router.open(spec_of(name), BODY, request_id="r") as answer:
            heard = [message async for message in answer]
    except HubError as error:
        served.failures.append(error)
        return False
    assert nodes.text(heard) == "one two"
    return True


def spec_of(name: str) -> wire.ModelSpec:
    return nodes.fake(name, memory_bytes=100 * MB)


async def chaos(watcher: Watcher, start: Callable[[], Node], served: Served) -> list[float]:
    """Kill engines, and the node, at random moments; give the seconds until both models answered."""
    random_, took_s = random.Random(SEED), []
    acts = [*["engine"] * KILLS, *["node"] * NODE_KILLS]
    random_.shuffle(acts)
    for act in acts:
        await asyncio.sleep(random_.uniform(0.1, 0.9))
        killed_s = time.monotonic()
        await kill(act, watcher, start)
        await asyncio.wait_for(served.both_again(), 60)
        took_s.append(time.monotonic() - killed_s)
    return took_s


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
    """`took_s`: from each kill until both models had answered again."""

    served: Served
    watcher: Watcher
    took_s: list[float]
    whole_s: float


async def rounds(start: Callable[..., Node]) -> Outcome:
    """Run the whole of it; `start` takes the options of a node, and is called again after its kills."""

    def begin() -> Node:
        return start(memory_limit_bytes=LIMIT_BYTES, min_residency_s=0, patience_s=0.05)

    began_s = time.monotonic()
    watcher, served = Watcher(begin()), Served()
    watching = asyncio.create_task(watcher.run())
    killing = asyncio.create_task(chaos(watcher, begin, served))
    await asyncio.gather(swap(["a", "b"], served), swap(["b", "a"], served))
    took_s = await killing
    watching.cancel()
    return Outcome(served, watcher, took_s, time.monotonic() - began_s)
