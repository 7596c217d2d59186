"""A running engine as the pool sees it: its process, what it measured, what it has done so far."""

import time
from collections import deque
from dataclasses import dataclass, field

from inference import wire
from inference.node.process import EngineProcess

RATE_WINDOW_S = 3.0


@dataclass(slots=True, eq=False)
class Running:
    """One instance's process. `stats` are the engine's own counters since its load."""

    instance: int
    name: str
    device: str
    claim_bytes: int
    process: EngineProcess | None = None
    loaded: wire.Loaded | None = None
    stats: wire.Stats = field(default_factory=wire.Stats)
    memory_bytes: int = 0
    heard_at: float = field(default_factory=time.monotonic)
    probe_at: float = 0.0  # 0: no probe is under way
    stopping: bool = False
    _rate: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=64))

    def send(self, message: wire.Any, stream: int) -> None:
        if self.process is not None:
            self.process.send(message, stream)

    def heard(self, now: float) -> None:
        self.heard_at, self.probe_at = now, 0.0

    def count(self, stats: wire.Stats, now: float) -> None:
        self.stats = stats
        self._rate.append((now, stats.completion_tokens_total))

    def measure(self) -> int:
        """Give what it holds on its device now: resident memory, or what a GPU engine reports."""
        if self.device == "cpu" and self.process is not None:
            self.memory_bytes = self.process.memory_bytes()
        else:
            reported = self.loaded.memory_bytes if self.loaded else 0
            self.memory_bytes = max(self.stats.memory_bytes, reported)
        return self.memory_bytes

    def tokens_per_s(self, now: float) -> float:
        """Give the rate over the last seconds; 0 when nothing was reported in them."""
        recent = [(at, total) for at, total in self._rate if now - at <= RATE_WINDOW_S]
        if len(recent) < 2 or recent[-1][0] == recent[0][0]:
            return 0.0
        return (recent[-1][1] - recent[0][1]) / (recent[-1][0] - recent[0][0])


@dataclass(slots=True)
class Totals:
    """What a model has served over all its loads."""

    requests: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cancelled: int = 0
    loads: int = 0

    def add(self, usage: wire.Usage) -> None:
        self.prompt_tokens += usage.prompt_tokens
        self.completion_tokens += usage.completion_tokens
