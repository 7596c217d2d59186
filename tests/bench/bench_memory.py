"""What is claimed for each model before and after its first load, beside what it then takes at its fullest.

`python -m tests.bench.bench_memory int8 whisper` measures the cases whose names have one of these words.
"""

import asyncio
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference import wire
from inference.mapped import doubled_bytes
from tests.bench import report
from tests.bench.memory_cases import Case, Work, cases
from tests.inference.node import nodes
from tests.inference.node.nodes import Node

DEADLINE_S = 1_800.0
BEFORE, AFTER = 1.10, 1.03


@dataclass(frozen=True)
class Figures:
    """Bytes of one load: claimed before it, held after it, held at most while it worked."""

    claimed: int
    loaded: int
    peak: int


async def load_and_work(node: Node, spec: wire.ModelSpec, work: Work) -> Figures:
    """Raises: RuntimeError if it could not be loaded or an answer failed."""
    planned = (await ask(node, wire.Plan(spec=spec)))[-1]
    loaded = (await ask(node, wire.Load(spec=spec, deadline_s=DEADLINE_S)))[-1]
    if not isinstance(loaded, wire.Loaded):
        raise RuntimeError(f"{spec.name}: {loaded}")
    (engine,) = node.engines()
    held = resident(engine.pid, "VmRSS")
    forget_peak(engine.pid)
    questions = [
        wire.Submit(request_id="m", spec=spec, body=b, deadline_s=DEADLINE_S) for b in work(spec)
    ]
    ends = await asyncio.gather(*(ask(node, question) for question in questions))
    failed = [frames[-1] for frames in ends if not isinstance(frames[-1], wire.Done)]
    if failed:
        raise RuntimeError(f"{spec.name}: {failed[0]}")
    peak = resident(engine.pid, "VmHWM")
    await ask(node, wire.Unload(model=spec.name, force=True))
    return Figures(planned.needed_bytes, held, peak)


async def ask(node: Node, message: wire.Any) -> list[Any]:
    async with node.talk() as talk:
        return await talk.ask(message, DEADLINE_S)


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # Source: proc(5)


def resident(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    size = next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
    return size - doubled_bytes(pid)


async def twice(node: Node, spec: wire.ModelSpec, work: Work) -> tuple[Figures, Figures]:
    first = await load_and_work(node, spec, work)
    return first, await load_and_work(node, spec, work)


def measure(folder: Path, case: Case) -> list[report.Row]:
    """A node of its own for each model: nothing is known of it, nor of its engine."""
    what = case.what
    folder.mkdir()
    node = nodes.start(folder, threads=1)
    try:
        first, second = asyncio.run(twice(node, case.spec, case.work))
    finally:
        nodes.stop(node)
    held = report.Row(f"{what}: just loaded, MB", f"{first.loaded / 1e6:.0f}", "", "")
    return [held, _row(f"{what}: before", first, BEFORE), _row(f"{what}: after", second, AFTER)]


def _row(what: str, found: Figures, goal: float) -> report.Row:
    ratio = found.claimed / found.peak
    met = "yes" if 1 / goal <= ratio <= goal else "no"
    claimed, peak = f"{found.claimed / 1e6:.0f}", f"{found.peak / 1e6:.0f}"
    return report.Row(f"{what}, MB", claimed, peak, f"{ratio:.3f}", f"within {goal:.2f}", met)


def chosen(data: Path, words: Sequence[str]) -> Iterator[Case]:
    """Give the cases that are named by one of these words; all without any."""
    wanted = [word.lower() for word in words]
    for case in cases(data):
        if not wanted or any(word in case.what.lower() for word in wanted):
            yield case


def main(data: Path, *words: str) -> None:
    """With words, only the cases that they name are measured, and the page stays as it is."""
    rows: list[report.Row] = []
    for number, case in enumerate(chosen(data, words)):
        rows += measure(data / f"node-{number}", case)
        sys.stderr.write(f"{rows[-3]}\n{rows[-2]}\n{rows[-1]}\n")
    if words:
        return
    notes = [
        "The hub's column is the claim, the peer's the most that the process held while it did the work that"
        " takes the most: keys and values filled as planned (8 prompts of 2,048 tokens at once), the largest"
        " picture, eight recordings, full batches. Before: a node that never saw the model nor its engine."
        " After: the second load. Resident size, as if nobody shared its pages; no spare process.",
    ]
    report.save("8-memory", "Memory: claimed and taken", rows, notes)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="hub-bench-") as data:
        main(Path(data), *sys.argv[1:])
