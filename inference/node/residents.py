"""The scheduler's memory: models, their engine instances and who waits. Data and one-row rules only."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from inference import wire
from inference.errors import EngineOutOfMemory, HubError
from inference.node.breaker import CRASHES, Breaker
from inference.node.company import Company
from inference.node.eviction import Limits, Resident, Wait
from inference.node.pace import Pace
from inference.node.placement import Bytes, Placement
from inference.node.settings import NodeSettings
from inference.node.usage import Usage

SERVICE_WEIGHT = 0.2  # of the newest answer in the running mean
LOAD_GRACE_S = 120.0
LOAD_GRACES_S = {"llm_vllm": 1800.0}  # it compiles kernels, and says nothing while it does
SLOW_DISK_BYTES_PER_S = 20e6
USUAL_DISK_BYTES_PER_S = 200e6
USUAL_START_S = 3.0
FAVOURED = 1_000  # over what one may set for a model itself
LINEAGE = 1_024  # beginnings of prompts that an instance is known by
WAKE_GRACE_S, BUS_BYTES_PER_S = 60.0, 500e6  # far below what any link to a GPU carries
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.25, 60.0

InstanceState = Literal["committed", "loading", "ready", "draining", "dozing", "asleep", "dead"]


@dataclass(slots=True)
class Policy:
    limits: Limits
    auto_unload_s: float = 300.0  # 0: never
    favoured: Sequence[str] = ()  # evicted last, the first one last of all
    ageing_s: float = 10.0
    company: Company = field(default_factory=Company)
    prefetch: bool = True
    crash_limit: int = CRASHES  # within `breaker.WINDOW_S`, until a model is refused

    def priority(self, spec: wire.ModelSpec) -> int:
        """Give the model's own, over that of all others where it is favoured."""
        names = self.favoured
        rank = FAVOURED + len(names) - names.index(spec.name) if spec.name in names else 0
        return spec.priority + rank


def policy_of(settings: NodeSettings, sizes: Bytes) -> Policy:
    """Take what the operator set, on devices of these sizes."""
    limits = Limits(
        bytes=sizes,
        max_models=settings.max_concurrent_models,
        min_residency_s=settings.min_residency_s,
        patience_s=settings.patience_s,
    )
    apart = tuple(map(frozenset, settings.never_together))
    together = tuple(map(frozenset, settings.always_together))
    return Policy(
        limits,
        settings.auto_unload_timeout_s,
        tuple(settings.priority_models),
        company=Company(apart, together),
        prefetch=settings.prefetch,
        crash_limit=settings.crash_limit,
    )


@dataclass(slots=True)
class Ticket:
    """Somebody who waits for a model: to run a request, or only to have it loaded."""

    id: int
    spec: wire.ModelSpec
    placements: Sequence[Placement]
    deadline_at: float
    since: float = 0.0
    runs: bool = True
    lineage: tuple[int, ...] = ()  # beginnings of its prompt, where there may be replicas
    told: wire.Progress | None = None


@dataclass(slots=True, eq=False)
class Instance:
    """One engine process, from the decision to start it until its memory is back.

    Invariant: `offered` are granted but not yet delivered, `running` are in the engine; both keep it
    from being stopped.
    """

    id: int
    spec: wire.ModelSpec
    placement: Placement
    claim: Bytes
    state: InstanceState = "committed"
    started_at: float = 0.0
    ready_at: float = 0.0
    last_used_at: float = 0.0
    load_deadline: float = 0.0
    loaded_bytes: int = 0
    total_bytes: int = 0
    offered: dict[int, Ticket] = field(default_factory=dict)
    running: dict[int, float] = field(default_factory=dict)  # ticket -> delivered at
    stopping: bool = False
    why: str = ""
    asked: str = ""  # who wanted it loaded
    is_held: bool = False  # until somebody has finished whose memory it waits for
    can_sleep: bool = False  # its engine says so
    awake: Bytes = field(default_factory=dict)  # its claim before it fell asleep
    tired: bool = False  # it leaves for its memory only, and may sleep instead of ending
    unasked: bool = False  # fetched for its company, as a replica, or because it is expected
    lineage: dict[int, None] = field(
        default_factory=dict
    )  # beginnings that it computed, oldest first

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def devices(self) -> tuple[str, ...]:
        """Name where it is worth showing: an engine that sleeps has its weights in main memory."""
        own = self.placement.devices
        return (*own, "cpu") if self.state == "asleep" else own

    @property
    def in_flight(self) -> int:
        return len(self.offered) + len(self.running)

    @property
    def starts(self) -> bool:
        return self.state in {"committed", "loading"}

    @property
    def has_process(self) -> bool:
        """True from its start until its memory is back."""
        return self.state != "committed"

    @property
    def stays(self) -> bool:
        return self.state in {"committed", "loading", "ready"}

    @property
    def free_slots(self) -> int:
        if self.state != "ready":
            return 0
        return max(0, max(1, self.spec.max_concurrency) - self.in_flight)

    def extend_load(self, now: float) -> None:
        """A load may take as long as its bytes need on a slow disk; progress starts the clock anew."""
        if self.placement.wakes:
            self.load_deadline = now + self.move_limit_s
            return
        left = max(0, self.placement.weights_bytes - self.loaded_bytes)
        grace_s = LOAD_GRACES_S.get(self.spec.engine, LOAD_GRACE_S)
        self.load_deadline = now + grace_s + left / SLOW_DISK_BYTES_PER_S

    @property
    def move_limit_s(self) -> float:
        """So long may weights take between a GPU and main memory."""
        return WAKE_GRACE_S + self.placement.weights_bytes / BUS_BYTES_PER_S

    def learn(self, lineage: Sequence[int]) -> None:
        """Note which beginnings of prompts it has computed."""
        for link in lineage:
            self.lineage.pop(link, None)
            self.lineage[link] = None
        for link in [*self.lineage][: max(0, len(self.lineage) - LINEAGE)]:
            del self.lineage[link]

    @property
    def load_s(self) -> float:
        """From the start of its process until it answered; the one load time that pages show."""
        return max(0.0, self.ready_at - self.started_at)

    @property
    def progress(self) -> float:
        return self.loaded_bytes / self.total_bytes if self.total_bytes else 0.0


@dataclass(slots=True, eq=False)
class Model:
    """One name: its newest spec, its queue, and the instances that take its requests, or will."""

    name: str
    spec: wire.ModelSpec
    placements: Sequence[Placement]
    queue: list[Ticket] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)  # oldest first
    failures: int = 0
    failed_at: float = float("-inf")
    retry_at: float = 0.0
    refusal: HubError | None = None
    reason: str = ""
    held: Wait | None = None  # what its last plan found in the way
    noted_at: float = float("-inf")  # when the history was last told that it waits for room
    load_s: float = 0.0  # of the last load; 0: none yet
    wake_s: float = 0.0  # the same from sleep
    sleeper: Instance | None = None  # its engine that slept last
    sleepless: bool = False  # its sleep went wrong once: not again
    service_s: float = 0.0
    pace: Pace = field(default_factory=Pace)
    usage: Usage = field(default_factory=Usage)
    replaced: dict[str, float] = field(default_factory=dict)  # older version -> replaced at
    breaker: Breaker = field(default_factory=Breaker)
    guessed_at: float | None = None  # the last request's time when it was last fetched unasked
    removed: bool = False  # it has left the catalog; known until its last engine has ended

    def begins_to_wait(self, now: float) -> bool:
        """Tell, once, that those in the queue wait for room.

        What they wait for changes with every answer, and would drive all else out of the history.
        """
        is_new = min(ticket.since for ticket in self.queue) > self.noted_at
        if is_new:
            self.noted_at = now
        return is_new

    @property
    def instance(self) -> Instance | None:
        """Give the one that is furthest: ready, else loading, else committed."""
        order = {"ready": 0, "loading": 1}
        return min(self.instances, key=lambda i: order.get(i.state, 2), default=None)

    @property
    def replicas(self) -> int:
        return max(1, self.spec.replicas)

    @property
    def free_slots(self) -> int:
        return sum(instance.free_slots for instance in self.instances)

    @property
    def in_flight(self) -> int:
        return sum(instance.in_flight for instance in self.instances)

    @property
    def outlived(self) -> bool:
        """Tell whether an engine serves that was there before the last one failed."""
        return any(i.state == "ready" and i.started_at < self.failed_at for i in self.instances)

    def forget(self, instance: Instance) -> bool:
        """Take it out, if it still takes requests; give whether it did."""
        if instance not in self.instances:
            return False
        self.instances.remove(instance)
        return True

    def count_answer(self, took_s: float, instance: Instance, now: float) -> None:
        self.pace.count(took_s, now)
        if self.service_s:
            self.service_s += SERVICE_WEIGHT * (took_s - self.service_s)
        else:
            self.service_s = took_s
        if instance.started_at >= self.failed_at:
            self.failures = 0
            self.breaker.answered()

    def back_off(self, now: float) -> None:
        self.failures += 1
        self.failed_at = now
        self.retry_at = now + min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** (self.failures - 1))

    def crashed(self, error: HubError | None, now: float, limit: int) -> bool:
        """Note that an engine ended by itself, or for its memory; give whether it is refused now."""
        by_itself = error is None or isinstance(error, EngineOutOfMemory)
        return by_itself and self.breaker.crashed(now, limit)

    @property
    def busy(self) -> bool:
        return bool(self.queue or self.in_flight)

    @property
    def next_ticket(self) -> Ticket:
        """Give who came first."""
        return min(self.queue, key=lambda ticket: (ticket.since, ticket.id))

    def arrived(self, instance: Instance) -> str:
        """Note how long its newest engine took; give it in words."""
        self.reason = ""
        if instance.placement.wakes:
            self.wake_s = instance.load_s
            return f"woken after {self.wake_s:.1f} s"
        self.load_s = instance.load_s
        return f"ready after {self.load_s:.1f} s"

    @property
    def sleeps(self) -> bool:
        return self.sleeper is not None and self.sleeper.state == "asleep"

    @property
    def known_load_s(self) -> float:
        """Give how long it took last to get it as it can be got now; 0: not known."""
        wakes = bool(self.instance and self.instance.placement.wakes)
        return self.wake_s if wakes or self.sleeps else self.load_s

    def expected_load_s(self) -> float:
        if self.known_load_s:
            return self.known_load_s
        weights = self.placements[0].weights_bytes if self.placements else 0
        speed = BUS_BYTES_PER_S if self.sleeps else USUAL_DISK_BYTES_PER_S
        return USUAL_START_S + weights / speed

    def idle_limit_s(self, default_s: float) -> float:
        """Seconds until an idle model is unloaded; 0: never."""
        if self.spec.pinned:
            return 0.0
        return default_s if self.spec.idle_unload_s is None else self.spec.idle_unload_s

    def state(self, now: float, *, drains: bool) -> wire.ModelState:
        if self.instance:
            return "ready" if self.instance.state == "ready" else "loading"
        if self.retry_at > now or (self.failures and self.reason and not self.queue):
            return "failed"  # also when it may be tried again: nobody has mended it yet
        if self.sleeps:
            return "asleep"
        return "draining" if drains else "cold"

    def resident(
        self, instance: Instance, now: float, policy: Policy, *, pinned: bool, spare: bool
    ) -> Resident:
        return Resident(
            id=instance.id,
            name=self.name,
            claim=instance.claim,
            loading=instance.starts,
            running=instance.in_flight,
            pinned=pinned,
            priority=policy.priority(self.spec),
            ready_at=instance.ready_at,
            last_used_at=instance.last_used_at,
            chance=0.0 if spare else self.usage.chance(now),
            spare=spare,
            load_s=(instance.can_sleep and self.wake_s) or self.load_s,
            friends=policy.company.friends(self.name),
        )
