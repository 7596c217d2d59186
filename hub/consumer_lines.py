"""What the consumers of tasks say of a Redis that is away: once for each outage. For telemetry.

Dramatiq's own lines come from every consumer at every try, each a `critical` of its own.
"""

import logging
import threading
import time

from inference import outages

CONSUMERS = "dramatiq.worker.ConsumerThread"
AWAY = "Redis does not answer: background tasks wait for it"
LOST = "Consumer encountered a connection error"
AGAIN = "Restarting consumer"
GAP_S = 20.0  # a try takes 2 s and the pause before the next one 3 s: longer without one, and it was back


class OncePerOutage(logging.Filter):
    """Let the first line of an outage through, in the hub's words, and none of the others."""

    def __init__(self) -> None:
        super().__init__()
        self._failed_at: float | None = None
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(CONSUMERS):
            return True
        if str(record.msg).startswith(AGAIN):
            return False
        error = record.exc_info[1] if record.exc_info else None
        lost = str(record.msg).startswith(LOST)
        if not lost and (error is None or outages.of(error) is None):
            return True
        if lost:
            record.__dict__["reason"] = record.getMessage().removeprefix(f"{LOST}: ")
        record.msg, record.args = AWAY, ()
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        return self._is_first()

    def _is_first(self) -> bool:
        with self._lock:
            now, before = time.monotonic(), self._failed_at
            self._failed_at = now
            return before is None or now - before > GAP_S
