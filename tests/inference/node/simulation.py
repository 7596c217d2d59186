"""Drives a scheduler, the real one or a baseline, through a trace in virtual time."""

import heapq
import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from inference import wire
from inference.node.effects import Grant, Start, Stop
from inference.node.eviction import Limits
from inference.node.placement import Placement
from inference.node.residents import Policy, Ticket
from inference.node.scheduler import Scheduler
from tests.inference.node.traces import BED, MEMORY_GB, Ask
from tests.inference.node.worlds import World, spec

MB_PER_GB = 1_000
STOP_S, TICK_S = 0.5, 0.5
DEADLINE_S = 600.0


@dataclass(frozen=True)
class Outcome:
    """What a scheduler made of a trace. Waits are until the engine takes the request."""

    waits_s: list[float]
    switches: int
    failed: int
    peak: int  # the most memory that processes held at once, in MB

    @property
    def p95_s(self) -> float:
        return statistics.quantiles(self.waits_s, n=20)[-1]

    @property
    def mean_s(self) -> float:
        return statistics.fmean(self.waits_s)


def policy() -> Policy:
    return Policy(Limits({"cpu": int(MEMORY_GB * MB_PER_GB)}))


def model(name: str) -> wire.ModelSpec:
    kind = BED[name]
    return spec(name, pinned=kind.pinned, priority=kind.priority, max_concurrency=kind.concurrency)


@dataclass
class Simulation(World):
    """A `World` (so memory, pins and lost waiters are checked) whose clock runs by itself."""

    limits: Limits = field(default_factory=lambda: policy().limits)
    switches: int = 0
    peak: int = 0
    waits_s: dict[int, float] = field(default_factory=dict)
    _asked: dict[int, Ask] = field(default_factory=dict)
    _since: dict[int, float] = field(default_factory=dict)
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _order: "itertools.count[int]" = field(default_factory=itertools.count)

    def run(self, trace: Sequence[Ask]) -> Outcome:
        begin = self.now
        for ask in trace:
            self._at(begin + ask.at_s, lambda ask=ask: self._ask(ask))  # type: ignore[misc]
        self._at(begin, self._beat)
        self._left = len(trace)
        while self._events and (self._left or self.waiting or self.running):
            self.now, _, event = heapq.heappop(self._events)
            event()
        failed = sum(error is not None for error in self.ended.values())
        return Outcome([*self.waits_s.values()], self.switches, failed, self.peak)

    def _at(self, when: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))

    def _beat(self) -> None:
        self.tick()
        self._at(self.now + TICK_S, self._beat)

    def _ask(self, ask: Ask) -> None:
        self._left -= 1
        number = self._last = self._last + 1
        kind = BED[ask.model]
        self._asked[number], self._since[number] = ask, self.now
        self.waiting.add(number)
        size = int(kind.size_gb * MB_PER_GB)
        place = Placement("cpu", {"cpu": size}, weights_bytes=size)
        ticket = Ticket(number, model(ask.model), [place], self.now + DEADLINE_S)
        self.do(self.scheduler.on_request(ticket, self.now))

    # --- Effects ------------------------------------------------------------------------------

    def start(self, effect: Start) -> None:
        super().start(effect)
        self.switches += 1
        used = [*self.loading.values(), *self.ready.values(), *self.going.values()]
        self.peak = max(self.peak, sum(s.placement.claim["cpu"] for s in used))
        ready_at = self.now + BED[effect.spec.name].load_s
        self._at(ready_at, lambda: self._if_loading(effect.instance))

    def stop(self, effect: Stop) -> None:
        super().stop(effect)
        self._at(self.now + STOP_S, lambda: self.gone(effect.instance))

    def grant(self, effect: Grant) -> None:
        super().grant(effect)
        self.waits_s[effect.ticket] = self.now - self._since[effect.ticket]
        took_s = self._asked[effect.ticket].service_s
        self._at(self.now + took_s, lambda: self.serve(effect.ticket))

    def _if_loading(self, instance: int) -> None:
        if instance in self.loading:
            self.make_ready(instance)


def simulate(trace: Sequence[Ask], make: Callable[[Policy], Scheduler] = Scheduler) -> Outcome:
    world = Simulation()
    world.scheduler = make(policy())
    return world.run(trace)
