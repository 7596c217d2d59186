"""Whether Redis answers: a thread of each process asks once a second, so that no request has to.

Used by accounts.connections. While Redis is away nobody else asks it; who waits for it goes on at once.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

logger = logging.getLogger(__name__)

PING_EVERY_S = 1.0


@dataclass(slots=True, eq=False)
class Presence:
    """`ping` tells whether Redis answers, within a time limit; `on_away` ends the waits of others."""

    ping: Callable[[], bool]
    on_away: Callable[[], None]
    away: bool = False
    lost_at_s: float = 0.0  # monotonic; when it was last lost
    _woken: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None
    _ended: bool = False

    def start(self) -> None:
        """Begin to watch, at the first use of Redis."""
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="redis", daemon=True)
                self._thread.start()

    def suspect(self) -> None:
        """Ask now: somebody got no answer in time, which may be nobody's fault but their own."""
        self._woken.set()

    def lose(self) -> None:
        """Take it for away until it answers a ping."""
        self._mark_away()
        self.suspect()

    def end(self) -> None:
        """Watch no longer."""
        self._ended = True
        self._woken.set()

    def _watch(self) -> None:
        while not self._ended:
            self._woken.clear()
            if not self.ping():
                self._mark_away()
            elif self.away:
                self.away = False
                logger.info("Redis answers again")
            self._woken.wait(PING_EVERY_S)

    def _mark_away(self) -> None:
        if not self.away:
            self.lost_at_s = time.monotonic()
            self.away = True
            logger.warning("Redis is away: limits hold in each process alone, rights change late")
            self.on_away()
