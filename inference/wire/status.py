"""How the node and its models are: snapshots, plans, decisions."""

import msgspec

from inference.wire.specs import BreakerState, Kind, Message, ModelState, Verdict


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
    pinned: bool = False
    adapters: list[AdapterStatus] = []
    adapters_bytes: int = 0  # of those attached now


class Victim(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Who would be unloaded for a model, and what speaks for that choice."""

    name: str
    claim_bytes: int
    running: int = 0  # these are finished first
    priority: int = 0
    idle_s: float = 0.0
    chance: float = 0.0  # of being wanted again within a minute
    load_s: float = 0.0  # that this would cost


class Planned(Message, kw_only=True, frozen=True):
    """`waits` names whom patience would unload; sizes are of `device`."""

    verdict: Verdict
    reason: str = ""
    device: str = ""
    needed_bytes: int = 0
    free_bytes: int = 0
    limit_bytes: int = 0
    victims: list[Victim] = []
    eta_s: float | None = None


class Lines(Message, frozen=True):
    """Oldest first; none while nothing was written since the node started."""

    lines: list[str] = []


class Decision(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """One act of the scheduler and why; the newest of them are kept for the dashboard."""

    at: float  # unix time
    action: str  # load, unload, wait, refuse, fail
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


class Snapshot(Message, frozen=True):
    at: float  # unix time
    devices: list[DeviceInfo] = []
    models: list[ModelStatus] = []
    decisions: list[Decision] = []
    queue: list[Waiting] = []  # the oldest first; of many only these
    history: list[Moment] = []  # what a lasting `Watch` has not been sent yet
