"""What the scheduler wants done. It decides and returns these; only `Effects` touches the world.

The pool implements `Effects` with processes of this machine; a cluster could do so with actors.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from inference import wire
from inference.errors import HubError
from inference.node.placement import Placement


@dataclass(frozen=True, slots=True)
class Grant:
    """Hand the request to the engine, then call `on_delivered`, or `on_cancel` if it has left."""

    ticket: int
    instance: int


@dataclass(frozen=True, slots=True)
class Announce:
    """Tell a ticket that only wanted the model loaded that it is."""

    ticket: int
    instance: int


@dataclass(frozen=True, slots=True)
class Start:
    """Start an engine, or wake the one that `placement.wakes` names, whose number ends with this.

    The memory of its victims has come back. Ends in on_ready or on_failed.
    """

    instance: int
    spec: wire.ModelSpec
    placement: Placement


@dataclass(frozen=True, slots=True)
class Stop:
    """End an engine's process, then call `on_gone`. Nothing runs in it, unless `force`."""

    instance: int
    reason: str
    force: bool = False


@dataclass(frozen=True, slots=True)
class Sleep:
    """Put an engine to sleep in which nothing runs. Ends in on_asleep or on_failed."""

    instance: int


@dataclass(frozen=True, slots=True)
class Refuse:
    ticket: int
    error: HubError


@dataclass(frozen=True, slots=True)
class Tell:
    ticket: int
    progress: wire.Progress


@dataclass(frozen=True, slots=True)
class Lend:
    """The memory of a reservation is free and kept for it."""

    ticket: int
    device: str
    claim_bytes: int


@dataclass(frozen=True, slots=True)
class Recall:
    """Ask for the memory of a reservation; `on_release` follows when its client has closed."""

    ticket: int
    reason: str


@dataclass(frozen=True, slots=True)
class Record:
    """Keep a decision and its reason for the operator."""

    action: str
    model: str
    reason: str
    detail: str = ""  # why it and no other


Effect = Grant | Announce | Start | Stop | Sleep | Refuse | Tell | Lend | Recall | Record


class Effects(Protocol):
    def grant(self, effect: Grant) -> None: ...
    def announce(self, effect: Announce) -> None: ...
    def start(self, effect: Start) -> None: ...
    def stop(self, effect: Stop) -> None: ...
    def sleep(self, effect: Sleep) -> None: ...
    def refuse(self, effect: Refuse) -> None: ...
    def tell(self, effect: Tell) -> None: ...
    def lend(self, effect: Lend) -> None: ...
    def recall(self, effect: Recall) -> None: ...
    def record(self, effect: Record) -> None: ...


def carry_out(effects: Iterable[Effect], world: Effects) -> None:
    for effect in effects:
        getattr(world, type(effect).__name__.lower())(effect)
