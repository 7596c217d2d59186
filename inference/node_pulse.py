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


@dataclass(slots=True)
class Pulse:
    """Invariant: at most one question to the node is open; it stays open until the node is back."""

    address: str
    _asked_at: float | None = None
    _task: asyncio.Task[None] | None = None

    @property
    def lost(self) -> bool:
        return self._asked_at is not None and time.monotonic() - self._asked_at >= LOST_S

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
