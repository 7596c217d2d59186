"""Replays a trace on a real node with real engines, and looks at the processes all the time."""

import asyncio
import contextlib
import statistics
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil

from inference import wire
from inference.node.devices import process_memory
from tests.inference.node import bed
from tests.inference.node.nodes import Node, watching
from tests.inference.node.traces import Ask

LOOK_S = 0.1
ANSWER_S = 300.0  # no answer for so long is a failure by itself


@dataclass
class Outcome:
    """Waits are the node's own: from the arrival of a request until its engine has it."""

    waits_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    loads: dict[str, int] = field(default_factory=dict)
    evictions: int = 0
    peak_bytes: int = 0  # engines and standby processes together
    peak_with_node_bytes: int = 0
    most_engines: int = 0
    looks: int = 0

    def quantile(self, share: float) -> float:
        return statistics.quantiles(self.waits_s, n=100, method="inclusive")[round(share * 100) - 1]


class Scales:
    """Weighs the node's processes in a thread of its own: PSS, so that shared pages count once."""

    def __init__(self, node: Node, outcome: Outcome) -> None:
        self._node, self._outcome = node, outcome
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Scales":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            with contextlib.suppress(psutil.Error):
                self._look()

    def _look(self) -> None:
        node = psutil.Process(self._node.process.pid)
        children = [process_memory(child.pid) for child in node.children(recursive=True)]
        seen, own = self._outcome, process_memory(node.pid)
        seen.peak_bytes = max(seen.peak_bytes, sum(children))
        seen.peak_with_node_bytes = max(seen.peak_with_node_bytes, sum(children) + own)
        seen.most_engines = max(seen.most_engines, sum(size > 0 for size in children))
        seen.looks += 1


async def replay(
    node: Node,
    trace: Sequence[Ask],
    specs: Mapping[str, wire.ModelSpec],
    *,
    faster: float,
    deadline_s: float,
) -> Outcome:
    """Ask what the trace asks, so many times faster; every request has this deadline to begin."""
    outcome = Outcome()
    with Scales(node, outcome):
        counting = asyncio.create_task(_count_evictions(node, outcome))
        begin = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for number, ask in enumerate(trace):
                question = bed.question(specs[ask.model], number, deadline_s)
                group.create_task(_ask(node, question, begin + ask.at_s / faster, outcome))
        outcome.loads = await _loads(node)
        counting.cancel()
    return outcome


async def _ask(node: Node, question: wire.Submit, when: float, outcome: Outcome) -> None:
    await asyncio.sleep(when - asyncio.get_running_loop().time())  # the trace's own pause
    name = question.spec.name
    try:
        async with asyncio.timeout(ANSWER_S), node.talk() as talk:
            frames: list[Any] = await talk.ask(question, ANSWER_S)
    except (OSError, TimeoutError, StopAsyncIteration) as error:
        outcome.failures.append(f"{name}: {type(error).__name__}: {error}")
        return
    if bed.right(name, frames):
        outcome.waits_s.append(frames[-1].timing.queue_s)
    else:
        outcome.failures.append(f"{name}: {bed.failure(frames)}")


async def _loads(node: Node) -> dict[str, int]:
    async with watching(node) as snapshots:
        return {model.name: model.loads_total for model in (await anext(snapshots)).models}


async def _count_evictions(node: Node, outcome: Outcome) -> None:
    """Decisions are kept for a while only: look often, count each once."""
    seen: set[tuple[float, str]] = set()
    async with watching(node, 1.0) as snapshots:
        async for snapshot in snapshots:
            seen |= {
                (decision.at, decision.model)
                for decision in snapshot.decisions
                if decision.action == "unload" and decision.reason.startswith("makes room")
            }
            outcome.evictions = len(seen)
