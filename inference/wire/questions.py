"""What web processes ask the node."""

from inference.wire.bodies import Body
from inference.wire.specs import Message, ModelSpec


class Submit(Message, frozen=True):
    """Ask for an answer. One at a time on a connection; closing it cancels the request."""

    request_id: str
    spec: ModelSpec
    body: Body
    deadline_s: float = 600.0  # for the wait until the engine takes it, not for the answer
    priority: int = 0
    companions: list[ModelSpec] = []  # the node loads them with it


class Load(Message, frozen=True):
    """Load without a request; answered by `Progress` frames and `Loaded` or `Failure`."""

    spec: ModelSpec
    deadline_s: float = 600.0


class Unload(Message, frozen=True):
    """Drain and stop; answered by `Done` or `Failure`. `force` does not wait for running requests."""

    model: str
    force: bool = False


class Revise(Message, frozen=True):
    """Take a spec's new pin, priority, idle time and queue length now; answered by `Done`.

    A spec of another version changes nothing: that takes a load, at the next request.
    """

    spec: ModelSpec


class Plan(Message, frozen=True):
    """Ask what loading this model now would do; answered by `Planned`, and nothing is done."""

    spec: ModelSpec


class Tail(Message, frozen=True):
    """The last lines that the engine of a model wrote; answered by `Lines`."""

    model: str


class Watch(Message, frozen=True):
    """Answered by a `Snapshot` at once and then every `interval_s` until the connection closes."""

    interval_s: float = 0.0  # 0: one snapshot only
