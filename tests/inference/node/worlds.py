"""A world for the scheduler: it carries out effects in memory and keeps its own account of them."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from msgspec import structs

from inference import wire
from inference.errors import HubError
from inference.node.effects import (
    Announce,
    Effect,
    Grant,
    Lend,
    Recall,
    Record,
    Refuse,
    Sleep,
    Start,
    Stop,
    Tell,
    carry_out,
)
from inference.node.eviction import Limits
from inference.node.leases import Lease
from inference.node.placement import Placement
from inference.node.residents import Policy, Ticket
from inference.node.scheduler import Scheduler

LIMIT = 100
OWN_WILL = (  # reasons that are no operator's
    "makes room",
    "idle for",
    "the models together",
    "fewer models may",
    "it may not be in memory",
)


def spec(name: str, **values: object) -> wire.ModelSpec:
    base: dict[str, object] = {"name": name, "kind": "llm", "engine": "fake", "path": ""}
    return wire.ModelSpec(**(base | values))  # type: ignore[arg-type]


@dataclass
class World:
    """Asserts at every effect what must hold at that moment."""

    limits: Limits = field(default_factory=lambda: Limits({"cpu": LIMIT}))
    auto_unload_s: float = 300.0
    devices: tuple[str, ...] = ("cpu",)  # each model can go to each of them
    now: float = 1_000.0
    waiting: set[int] = field(default_factory=set)
    running: dict[int, int] = field(default_factory=dict)  # ticket -> instance
    ended: dict[int, HubError | None] = field(default_factory=dict)  # None: served
    left: set[int] = field(default_factory=set)  # clients that left unseen
    loading: dict[int, Start] = field(default_factory=dict)
    ready: dict[int, Start] = field(default_factory=dict)
    going: dict[int, Start] = field(default_factory=dict)  # stopped or dead, memory not back
    dozing: dict[int, Start] = field(default_factory=dict)
    asleep: dict[int, Start] = field(default_factory=dict)
    held: dict[int, dict[str, int]] = field(default_factory=dict)  # memory, by instance
    told: dict[int, wire.Progress] = field(default_factory=dict)
    reserving: set[int] = field(default_factory=set)  # reservations that wait
    declined: dict[int, HubError] = field(default_factory=dict)  # reservations
    lent: dict[int, Lease] = field(default_factory=dict)
    recalled: dict[int, str] = field(default_factory=dict)  # lent, and asked back
    records: list[Record] = field(default_factory=list)
    _last: int = 0

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(Policy(self.limits, self.auto_unload_s))

    # --- what happens -----------------------------------------------------------------------

    def request(
        self, model: wire.ModelSpec, size: int = 40, deadline_s: float = 1e9, **values: object
    ) -> int:
        self._last += 1
        self.waiting.add(self._last)
        ticket = Ticket(self._last, model, self.places(size), self.now + deadline_s, **values)  # type: ignore[arg-type]
        self.do(self.scheduler.on_request(ticket, self.now))
        return self._last

    def places(self, size: int) -> list[Placement]:
        return [Placement(device, {device: size}) for device in self.devices]

    def cancel(self, ticket: int) -> None:
        self.waiting.discard(ticket)
        self.do(self.scheduler.on_cancel(ticket, self.now))

    def serve(self, ticket: int) -> None:
        del self.running[ticket]
        self.ended[ticket] = None
        self.do(self.scheduler.on_served(ticket, self.now))

    def serve_all(self, ticket: int) -> None:
        """Let a request have its engine and its answer."""
        self.settle()
        self.tick()
        self.settle()
        self.serve(ticket)
        self.settle()

    def make_ready(self, instance: int) -> None:
        start = self.ready[instance] = self.loading.pop(instance)
        claim, can_sleep = start.placement.claim, bool(start.placement.asleep)
        self.do(self.scheduler.on_ready(instance, claim, self.now, can_sleep=can_sleep))

    def fall_asleep(self, instance: int) -> None:
        start = self.asleep[instance] = self.dozing.pop(instance)
        stays = {d: n for d, n in start.placement.asleep.items() if d != "cpu"}
        self.held[instance] = {**stays, "cpu": self.held[instance]["cpu"]}
        self.do(self.scheduler.on_asleep(instance, self.now))

    def fail(self, instance: int, error: HubError | None) -> None:
        for phase in (self.loading, self.ready, self.dozing, self.asleep):
            if instance in phase:
                self.going[instance] = phase.pop(instance)
        for ticket in [t for t, held_by in self.running.items() if held_by == instance]:
            del self.running[ticket]
            self.ended[ticket] = HubError("died")
        self.do(self.scheduler.on_failed(instance, error, self.now))

    def gone(self, instance: int) -> None:
        del self.going[instance], self.held[instance]
        self.do(self.scheduler.on_gone(instance, self.now))

    def unload(self, name: str, *, force: bool = False) -> None:
        self.do(self.scheduler.on_unload(name, self.now, force=force))

    def remove(self, name: str) -> None:
        """The model has left the catalog."""
        self.do(self.scheduler.on_removed(name, self.now))

    def reserve(self, size: int = 40, deadline_s: float | None = None, **values: object) -> int:
        self._last += 1
        self.reserving.add(self._last)
        wish = wire.Reserve(id=f"r{self._last}", label="job", claim_bytes=size, **values)  # type: ignore[arg-type]
        deadline_at = float("inf") if deadline_s is None else self.now + deadline_s
        lease = Lease(self._last, wish, self.places(size), deadline_at)
        self.do(self.scheduler.on_reserve(lease, self.now))
        return self._last

    def resize(self, ticket: int, size: int) -> None:
        self.do(self.scheduler.on_resize(ticket, size, self.now))

    def release(self, ticket: int) -> None:
        """The client of a reservation closes, whatever it has."""
        self.reserving.discard(ticket)
        self.lent.pop(ticket, None)
        self.recalled.pop(ticket, None)
        self.do(self.scheduler.on_release(ticket, self.now))

    def meet(self, model: wire.ModelSpec, size: int) -> None:
        self.do(self.scheduler.on_met(model, self.places(size), self.now))

    def revise(self, model: wire.ModelSpec) -> None:
        for phase in (self.loading, self.ready, self.going):
            for number, start in phase.items():
                if start.spec.name == model.name:
                    pinned = model.pinned
                    phase[number] = replace(start, spec=structs.replace(start.spec, pinned=pinned))
        self.do(self.scheduler.on_revise(model, self.now))

    def set_rules(self, policy: Policy) -> None:
        """The operator edited the file of rules."""
        self.limits = policy.limits
        self.do(self.scheduler.on_policy(policy, self.now))

    def tick(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.do(self.scheduler.on_tick(self.now))

    def settle(self) -> None:
        """Let what is under way end: loads and stops."""
        while self.loading or self.going or self.dozing:
            for instance in [*self.loading]:
                self.make_ready(instance)
            for instance in [*self.dozing]:
                self.fall_asleep(instance)
            for instance in [*self.going]:
                self.gone(instance)

    def do(self, effects: Iterable[Effect]) -> None:
        carry_out(effects, self)

    # --- Effects ----------------------------------------------------------------------------

    def grant(self, effect: Grant) -> None:
        if effect.ticket in self.left:
            self.waiting.discard(effect.ticket)
            self.do(self.scheduler.on_cancel(effect.ticket, self.now))
            return
        assert effect.instance in self.ready
        self.waiting.remove(effect.ticket)
        self.running[effect.ticket] = effect.instance
        self.scheduler.on_delivered(effect.ticket, self.now)
        slots = self.ready[effect.instance].spec.max_concurrency
        assert [*self.running.values()].count(effect.instance) <= slots

    def announce(self, effect: Announce) -> None:
        assert effect.instance in self.ready
        self.waiting.remove(effect.ticket)
        self.ended[effect.ticket] = None

    def start(self, effect: Start) -> None:
        self.loading[effect.instance] = effect
        self.held[effect.instance] = dict(effect.placement.claim)
        if effect.placement.wakes:
            self._wake(effect)
        used = [*self.loading.values(), *self.ready.values(), *self.going.values()]
        self._assert_memory_holds()
        assert self._is_alone_on_its_gpu(effect)
        assert not self.limits.max_models or len(used) <= self.limits.max_models
        foes = self.scheduler.policy.company.foes(effect.spec.name)
        assert not foes & {other.spec.name for other in used}

    def _assert_memory_holds(self) -> None:
        """As was claimed at first, for engines; what was lent may have been measured since."""
        for device, limit in self.limits.bytes.items():
            lent = sum(lease.claim.get(device, 0) for lease in self.lent.values())
            assert lent + sum(held.get(device, 0) for held in self.held.values()) <= limit

    def _wake(self, effect: Start) -> None:
        """What its process holds already is in the claim."""
        sleeper, held = (
            self.asleep.pop(effect.placement.wakes),
            self.held.pop(effect.placement.wakes),
        )
        assert sleeper.spec.key == effect.spec.key
        assert sleeper.placement.devices == effect.placement.devices
        assert all(effect.placement.claim[device] >= size for device, size in held.items())

    def sleep(self, effect: Sleep) -> None:
        start = self.dozing[effect.instance] = self.ready.pop(effect.instance)
        assert not [t for t, held_by in self.running.items() if held_by == effect.instance]
        assert not start.spec.pinned
        more = 0 if start.placement.wakes else start.placement.asleep["cpu"]
        self.held[effect.instance]["cpu"] += more
        self._assert_memory_holds()

    def _is_alone_on_its_gpu(self, effect: Start) -> bool:
        mine = {device for device in effect.placement.devices if device != "cpu"}
        there = [*self.loading.values(), *self.ready.values()]
        same = [o for o in there if o.spec.name == effect.spec.name and o is not effect]
        serving = [o for o in same if self.scheduler.instances[o.instance].stays]
        return not any(mine & set(other.placement.devices) for other in serving)

    def stop(self, effect: Stop) -> None:
        phases = (self.ready, self.loading, self.dozing, self.asleep)
        phase = next(phase for phase in phases if effect.instance in phase)
        start = self.going[effect.instance] = phase.pop(effect.instance)
        if start.spec.pinned:
            assert not effect.reason.startswith(OWN_WILL)
        busy = [t for t, held_by in self.running.items() if held_by == effect.instance]
        assert effect.force or not busy
        for ticket in busy:
            del self.running[ticket]
            self.ended[ticket] = HubError("unloaded")

    def refuse(self, effect: Refuse) -> None:
        if effect.ticket in self.reserving:
            self.reserving.remove(effect.ticket)
            self.declined[effect.ticket] = effect.error
            return
        self.waiting.remove(effect.ticket)
        self.ended[effect.ticket] = effect.error

    def tell(self, effect: Tell) -> None:
        assert effect.ticket in self.waiting | self.reserving
        self.told[effect.ticket] = effect.progress

    def lend(self, effect: Lend) -> None:
        self.reserving.remove(effect.ticket)
        self.lent[effect.ticket] = self.scheduler.leases[effect.ticket]
        self._assert_memory_holds()

    def recall(self, effect: Recall) -> None:
        assert self.lent[effect.ticket].wish.is_preemptible
        assert effect.ticket not in self.recalled
        self.recalled[effect.ticket] = effect.reason

    def record(self, effect: Record) -> None:
        self.records.append(effect)
