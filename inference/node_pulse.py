"""Whether the node answers at all: asked once for all requests of an event loop that hear nothing.

Called by router.py. A node that is stopped keeps its connections open, takes new ones, and says nothing.
"""

import asyncio
import time
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from inference import wire
from inference.node_client import connect

SILENT_S = 5.0  # a request has heard nothing for so long: then the node is asked for its state
LOST_S = 20.0  # and after so long without an answer it is given up; a supervisor may have ended it by then
TICK_S = 1.0
RESTART_S = (
    10.0  # so long a node that has just gone is waited for; who comes later hears it at once
)


@dataclass(slots=True)
class Pulse:
    """Invariant: at most one question to the node is open; it stays open until the node is back."""

    address: str
    _asked_at: float | None = None
    _task: asyncio.Task[None] | None = None
    _gone_at: float = 0.0
    _refused_at: float | None = None

    @property
    def lost(self) -> bool:
        return self._asked_at is not None and time.monotonic() - self._asked_at >= LOST_S

    @property
    def patience_s(self) -> float:
        """Say how long a new request may still wait for a node that takes no connection."""
        now_s = time.monotonic()
        if self._refused_at is None or now_s - self._refused_at > RESTART_S:
            return RESTART_S
        return max(0.0, self._gone_at + RESTART_S - now_s)

    def refused(self) -> None:
        """Nobody listens there. A refusal long after the last one is another absence."""
        now_s = time.monotonic()
        if self._refused_at is None or now_s - self._refused_at > RESTART_S:
            self._gone_at = now_s
        self._refused_at = now_s

    def found(self) -> None:
        self._refused_at = None

    def feel(self) -> None:
        """Ask, unless somebody has."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            self._task = asyncio.get_running_loop().create_task(self._ask())

    async def _ask(self) -> None:
        """A node that is gone is another matter: whoever asks it hears that at once."""
        try:
            connection = await connect(self.address)
            try:
                connection.write(wire.encode(wire.Watch()))
                while not await connection.next_batch(TICK_S):
                    pass
            finally:
                connection.close()
        except OSError:
            pass
        finally:
            self._asked_at = None


_pulses: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Pulse]] = WeakKeyDictionary()


def of(address: str) -> Pulse:
    """Give what this event loop knows of the node."""
    return _pulses.setdefault(asyncio.get_running_loop(), {}).setdefault(address, Pulse(address))
