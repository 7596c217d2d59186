"""What web processes ask the node."""

from inference.wire.bodies import Body
from inference.wire.specs import Message, ModelSpec


class Submit(Message, frozen=True):
    """Ask for an answer. One at a time on a connection; closing it cancels the request."""

    request_id: str
    spec: ModelSpec
    body: Body
    deadline_s: float = 600.0  # for the wait until the engine takes it, not for the answer
    companions: list[ModelSpec] = []  # the node loads them with it
    repeated: bool = False  # its engine or node ended under way: it is not asked a third time


class Load(Message, frozen=True):
    """Load without a request; answered by `Progress` frames and `Loaded` or `Failure`."""

    spec: ModelSpec
    deadline_s: float = 600.0
    companions: list[ModelSpec] = []


class Unload(Message, frozen=True):
    """Drain and stop; answered by `Done` or `Failure`. `force` does not wait for running requests."""

    model: str
    force: bool = False


class Forget(Message, frozen=True):
    """A model has left the catalog; answered by `Done` at once.

    Who waits for it is told so, who is being answered is answered to the end, then it is unloaded.
    """

    model: str


class Revise(Message, frozen=True):
    """Take a spec's new pin, priority, idle time and queue length now; answered by `Done`.

    A spec of another version changes nothing: that takes a load, at the next request.
    """

    spec: ModelSpec


class Detach(Message, frozen=True):
    """Let go of an adapter that is no more; answered by `Done` at once.

    Passed on to each engine of the model, which keeps it for who is answering with it, no longer.
    """

    model: str  # its base
    adapter: str


class Plan(Message, frozen=True):
    """Ask what loading this model now would do; answered by `Planned`, and nothing is done."""

    spec: ModelSpec


class Reserve(Message, frozen=True):
    """Borrow memory for a process of the client's own, a training. The connection is the lease.

    Answered by `Progress` while it waits, by `Granted`, and by `Yield` if it must give the memory back.
    The client closes the connection once its process has ended; closing frees at once. `Failure` ends it.
    """

    id: str
    label: str
    claim_bytes: int  # on `device`
    device: str = "auto"  # auto, cpu, cuda, cuda:0
    priority: int = 0
    is_preemptible: bool = (
        False  # asked to yield when a request waits that cannot be served otherwise
    )
    deadline_s: float | None = None  # for the wait; None: as long as it takes
    pid: int = 0  # its process, if it is there already: its memory counts as the hub's


class Resize(Message, frozen=True):
    """Correct a reservation on its own connection, any time; not answered."""

    claim_bytes: int = 0  # as measured; 0: as before
    pid: int = 0  # 0: as before


class PlanReservation(Message, frozen=True):
    """Ask what this reservation would do now; answered by `Planned`, and nothing is done."""

    reserve: Reserve


class Tail(Message, frozen=True):
    """The last lines that the engine of a model wrote; answered by `Lines`."""

    model: str


class AskCourse(Message, frozen=True):
    """How a model did in the last hour; answered by `Course`."""

    model: str


class Watch(Message, frozen=True):
    """Answered by a `Snapshot` at once and then every `interval_s` until the connection closes."""

    interval_s: float = 0.0  # 0: one snapshot only
