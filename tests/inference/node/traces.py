"""Recorded mixed traffic, a busy quarter of an hour and its long tail, for the simulator and a real node.

`mixed.csv` was written once by `python -m tests.inference.node.traces`; a test compares the two.
"""

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("mixed.csv")
SEED, REQUESTS, SPAN_S = 20261125, 2_000, 900.0
MEMORY_GB = 24.0
DISK_GB_PER_S, START_S = 1.0, 2.0


@dataclass(frozen=True)
class Kind:
    """One model of the bed: what it takes, and how it is used."""

    size_gb: float
    service_s: float  # mean, exponential
    use: str  # steady, burst, periodic, conversation, rare, idle
    share: float  # of all requests
    concurrency: int = 8
    pinned: bool = False
    priority: int = 0

    @property
    def load_s(self) -> float:
        return START_S + self.size_gb / DISK_GB_PER_S


BED = {
    "embed": Kind(1.0, 0.1, "steady", 0.16, pinned=True),
    "chat": Kind(6.0, 2.0, "conversation", 0.22, priority=1),
    "code": Kind(7.0, 3.0, "conversation", 0.12),
    "support": Kind(5.0, 1.5, "conversation", 0.10),
    "speech": Kind(2.0, 1.0, "burst", 0.08, concurrency=2),
    "vision": Kind(8.0, 3.0, "burst", 0.06, concurrency=4),
    "translate": Kind(5.0, 1.0, "burst", 0.07),
    "report": Kind(6.0, 4.0, "periodic", 0.05),
    "tagger": Kind(3.0, 0.3, "periodic", 0.06),
    "rank": Kind(2.0, 0.2, "periodic", 0.03),
    "draft": Kind(4.0, 1.0, "rare", 0.02),
    "legal": Kind(10.0, 5.0, "rare", 0.012),
    "poem": Kind(4.0, 2.0, "rare", 0.010),
    "old": Kind(7.0, 2.0, "idle", 0.002),
    "trial": Kind(6.0, 2.0, "idle", 0.006),
}


@dataclass(frozen=True)
class Ask:
    at_s: float
    model: str
    service_s: float


def recorded() -> list[Ask]:
    with FILE.open(newline="") as lines:
        return [Ask(float(at), model, float(took)) for at, model, took in csv.reader(lines)]


def generate(seed: int = SEED) -> list[Ask]:
    """Draw each model's arrivals by its use; heavy tails in burst sizes and session lengths."""
    dice = random.Random(seed)
    asks = []
    for name, kind in BED.items():
        times = _times(kind, round(kind.share * REQUESTS), dice)
        asks += [Ask(round(at, 3), name, _service_s(kind, dice)) for at in times]
    return sorted(asks, key=lambda ask: (ask.at_s, ask.model))[:REQUESTS]


def _service_s(kind: Kind, dice: random.Random) -> float:
    return round(min(10 * kind.service_s, 0.02 + dice.expovariate(1 / kind.service_s)), 3)


def _times(kind: Kind, count: int, dice: random.Random) -> list[float]:
    if kind.use in {"steady", "rare", "idle"}:
        return [dice.uniform(0, SPAN_S) for _ in range(count)]
    groups = {"burst": _bursts, "periodic": _periods, "conversation": _sessions}
    return list(groups[kind.use](count, dice))


def _bursts(count: int, dice: random.Random) -> Iterator[float]:
    """Pareto sizes (shape 1.3), a request every half second."""
    while count > 0:
        begin, size = dice.uniform(0, SPAN_S), min(count, 3 + int(3 * dice.paretovariate(1.3)))
        for _ in range(size):
            begin += dice.expovariate(2.0)
            yield begin
        count -= size


def _periods(count: int, dice: random.Random) -> Iterator[float]:
    """Ten at once, evenly over the whole time."""
    jobs = max(1, count // 10)
    for number in range(count):
        yield SPAN_S * (number % jobs + 0.5) / jobs + dice.uniform(0, 2.0)


def _sessions(count: int, dice: random.Random) -> Iterator[float]:
    """One person's turns, with 20 s of reading and writing between them."""
    while count > 0:
        at, turns = dice.uniform(0, SPAN_S), min(count, 1 + int(3 * dice.paretovariate(1.3)))
        for _ in range(turns):
            yield at
            at += 2.0 + dice.expovariate(1 / 20.0)
        count -= turns


def main() -> None:
    with FILE.open("w", newline="") as out:
        rows = csv.writer(out, lineterminator="\n")
        rows.writerows((ask.at_s, ask.model, ask.service_s) for ask in generate())


if __name__ == "__main__":
    main()
