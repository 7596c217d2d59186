"""What is noted on the hot path is written a few seconds later by a thread, again until it succeeds.

`last_use`, `addresses` and `notices` each have one.
"""

import logging
import threading
from collections.abc import Callable

from django.db import DatabaseError, close_old_connections

logger = logging.getLogger(__name__)


class Later:
    """Calls `flush` `after_s` after `arm`, and goes on while `waiting` tells of something."""

    def __init__(
        self,
        after_s: float,
        flush: Callable[[], object],
        waiting: Callable[[], object],
        failed: str,
    ) -> None:
        self._after_s = after_s
        self._flush = flush
        self._waiting = waiting
        self._failed = failed  # words for the process's log
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def arm(self) -> None:
        """Call it after the note: whoever is flushing now looks once more at its end."""
        if self._timer is None:
            with self._lock:
                self._start()

    def cancel(self) -> None:
        """Stop the timer: between tests."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None

    def _start(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(self._after_s, self._run)
            self._timer.daemon = True
            self._timer.start()

    def _run(self) -> None:
        close_old_connections()
        try:
            self._flush()
        except DatabaseError:
            logger.warning(self._failed, exc_info=True)
        finally:
            close_old_connections()
            with self._lock:
                self._timer = None
                if self._waiting():
                    self._start()
