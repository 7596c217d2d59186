"""How the node and its models are: snapshots, plans, decisions."""

import msgspec

from inference.wire.specs import BreakerState, Kind, Message, ModelState, ReservationState, Verdict

TRAINING = "training "  # begins the name of a reservation in decisions and reasons; no model's


class DeviceInfo(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    name: str  # cpu, cuda:0
    label: str
    total_bytes: int
    limit_bytes: int  # what the hub may use
    used_bytes: int  # by the hub's models and spare processes, measured
    standby_bytes: int = 0  # of these, by spare processes
    others_bytes: int = 0  # of the limit, out of reach because other programs hold it


class AdapterStatus(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """What an adapter was asked since the node started; its base's totals hold it too."""

    name: str
    attached: bool = False  # now
    requests_total: int = 0
    prompt_tokens_total: int = 0
    completion_tokens_total: int = 0


class Part(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """What one engine of a model holds on one device."""

    replica: int  # 1 is the oldest
    device: str
    state: ModelState
    memory_bytes: int = 0  # measured now
    claim_bytes: int = 0  # reserved
    weights_bytes: int = 0
    kv_bytes: int = 0
    running: int = 0
    reason: str = ""  # why it leaves


class ModelStatus(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    name: str
    version: str
    state: ModelState
    kind: Kind
    engine: str
    device: str = ""
    reason: str = ""  # why it failed, or what it waits for
    memory_bytes: int = 0  # measured now
    claim_bytes: int = 0  # reserved
    weights_bytes: int = 0
    kv_bytes: int = 0
    running: int = 0
    waiting: int = 0
    progress: float = 0.0  # 0..1 while loading
    tokens_per_s: float = 0.0
    requests_total: int = 0
    failures_total: int = 0
    prompt_tokens_total: int = 0
    completion_tokens_total: int = 0
    cancelled_total: int = 0
    loads_total: int = 0
    idle_s: float = 0.0
    unload_in_s: float | None = None
    breaker: BreakerState = "closed"  # open: refused, because its engine ended too often
    load_s: float = 0.0
    context_tokens: int = 0
    capabilities: list[str] = []  # of its engine with these files; what else is asked is refused
    pinned: bool = False
    adapters: list[AdapterStatus] = []
    adapters_bytes: int = 0  # of those attached now
    replicas: int = 1  # that are wanted
    parts: list[Part] = []  # of a model with several engines, or on several devices

    @property
    def spots(self) -> list[Part]:
        """Give where its memory is: at least one part, if it has any."""
        if self.parts or not self.device:
            return self.parts
        return [
            Part(
                replica=1,
                device=self.device,
                state=self.state,
                memory_bytes=self.memory_bytes,
                claim_bytes=self.claim_bytes,
                weights_bytes=self.weights_bytes,
                kv_bytes=self.kv_bytes,
                running=self.running,
            )
        ]


class Victim(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Who would be unloaded for a model, and what speaks for that choice."""

    name: str
    claim_bytes: int
    running: int = 0  # these are finished first
    priority: int = 0
    idle_s: float = 0.0
    chance: float = 0.0  # of being wanted again within a minute
    load_s: float = 0.0  # that this would cost
    is_training: bool = False  # it pauses, and goes on later


class Place(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """What loading a model on these devices now would do; sizes are of the one with the least room."""

    devices: list[str]
    verdict: Verdict
    reason: str = ""
    needed_bytes: int = 0  # on each of them
    free_bytes: int = 0
    limit_bytes: int = 0
    victims: list[str] = []
    chosen: bool = False


class Planned(Message, kw_only=True, frozen=True):
    """`waits` names whom patience would unload; sizes are of `device`, `choice` says why it is that one."""

    verdict: Verdict
    reason: str = ""
    device: str = ""
    needed_bytes: int = 0
    free_bytes: int = 0
    limit_bytes: int = 0
    context_tokens: int = 0  # that one request may have; 0: not known
    victims: list[Victim] = []
    eta_s: float | None = None
    devices: list[str] = []  # all that it takes, where it is spread over several
    choice: str = ""
    places: list[Place] = []  # where it could go, if there is more than one


class Lines(Message, frozen=True):
    """Oldest first; none while nothing was written since the node started."""

    lines: list[str] = []


class CourseStep(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Requests of a model that ended within a time, and their times: medians, and 95 of 100."""

    at: float  # unix time of its beginning
    requests: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_p50_s: float | None = None  # to the first token, the wait in the queue included
    first_p95_s: float | None = None
    tokens_per_s: float | None = None  # of one answer


class Course(Message, kw_only=True, frozen=True):
    """How a model did in the last hour; steps without a request are left out."""

    since: float  # unix time of the node's start: nothing is known of before
    step_s: float
    steps: list[CourseStep] = []
    whole: CourseStep


class Decision(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """One act of the scheduler and why; the newest of them are kept for the dashboard."""

    at: float  # unix time
    action: str  # load, unload, sleep, wait, refuse, fail
    model: str
    reason: str
    detail: str = ""  # why this model and no other


class Waiting(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """One request in a queue: its place among those of its model, and why it waits."""

    model: str
    position: int
    age_s: float
    reason: str
    eta_s: float | None = None


class Moment(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Two seconds of the node's past."""

    at: float  # unix time of its end
    tokens_per_s: float = 0.0
    requests: int = 0  # that came
    running: int = 0  # the most at once
    waiting: int = 0
    used_bytes: int = 0


class ReservationStatus(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Memory that a training process has, or waits for."""

    id: str
    label: str  # "" for whoever may not see it
    state: ReservationState
    device: str = ""  # once it is planned
    claim_bytes: int = 0
    memory_bytes: int = 0  # of its process on that device, measured now
    priority: int = 0
    is_preemptible: bool = False
    position: int = 0  # among those that wait
    age_s: float = 0.0  # of its state: since it came, or since it was granted
    reason: str = ""  # why it waits or must yield

    def holds(self, device: str) -> bool:
        return self.device == device and self.state != "waiting"


class Snapshot(Message, frozen=True):
    at: float  # unix time
    devices: list[DeviceInfo] = []
    models: list[ModelStatus] = []
    decisions: list[Decision] = []
    reservations: list[ReservationStatus] = []
    queue: list[Waiting] = []  # the oldest first; of many only these
    max_models: int = 0  # that may be there at once; 0: as many as fit
    history: list[Moment] = []  # what a lasting `Watch` has not been sent yet
