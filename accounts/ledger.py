"""The ledger of use: every request is noted on disk at once and brought into the database in batches.

`inference.api.app` notes; one thread of each process brings. While the database is away or locked the
lines stay on the disk, synced, and follow when it is back; a unique id makes each of them one row.
"""

import atexit
import contextlib
import logging
import threading
import time
import uuid
from collections import deque
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from django.conf import settings
from django.db import DatabaseError, close_old_connections, connection
from django.utils import timezone

from accounts import spool, usage_rows
from accounts.entry import Entry
from accounts.spool import Spool

logger = logging.getLogger(__name__)

EVERY_S = 1.0
ADOPT_EVERY_S = 30.0
SWEEP_EVERY_S = 3600.0
MANY = 500  # rows of a transaction
UNWRITTEN = 10_000  # notes kept in memory while the disk takes none


@dataclass(slots=True, eq=False)
class Ledger:
    """What a process has noted and not yet brought."""

    spool: Spool
    _unwritten: deque[Entry] = field(default_factory=lambda: deque(maxlen=UNWRITTEN))
    _woken: threading.Event = field(default_factory=threading.Event)
    _one: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None
    _ended: bool = False
    _away: bool = False
    _due_s: dict[str, float] = field(default_factory=dict)

    def note(self, entry: Entry) -> None:
        """Remember one request; takes microseconds and never fails."""
        try:
            self.spool.append(entry)
        except OSError:
            self._unwritten.append(entry)
        if self._thread is None:
            self.start()

    def start(self) -> None:
        """Begin to bring, also what a process before this one left behind."""
        with self._one:
            if self._thread is None:
                self._thread = threading.Thread(target=self._bring, name="usage", daemon=True)
                self._thread.start()

    def flush(self) -> int:
        """Bring everything now and give the number of new rows. Raises: DatabaseError, OSError."""
        with self._one:
            added = self._put_unwritten() + self._put_waiting()
            self.spool.seal()  # only now: one file grows while the database is away
            return added + self._put_waiting()

    def close(self) -> None:
        """Bring what is left, if the database is there; the next process does otherwise."""
        self.end()
        with contextlib.suppress(DatabaseError, OSError):
            self.spool.sync()
            self.flush()

    def end(self) -> None:
        """Bring nothing more by itself."""
        self._ended = True
        self._woken.set()
        if self._thread is not None:
            self._thread.join()

    def _put_waiting(self) -> int:
        added = 0
        for path in self.spool.waiting:
            try:
                added += sum(usage_rows.put(batch) for batch in spool.entries(path, MANY))
            except FileNotFoundError:  # somebody cleared the folder: the rest goes on
                logger.warning("a file of use is gone", extra={"file": path.name})
            self.spool.forget(path)
        return added

    def _put_unwritten(self) -> int:
        batch = [*self._unwritten]
        added = usage_rows.put(batch) if batch else 0
        for _ in batch:
            self._unwritten.popleft()
        return added

    def _bring(self) -> None:
        self._adopt()
        while not self._ended:
            self._woken.wait(EVERY_S)
            self._try()
        connection.close()

    def _try(self) -> None:
        close_old_connections()
        try:
            if self._is_due("adopt", ADOPT_EVERY_S):
                self._adopt()
            self.flush()
            if self._is_due("sweep", SWEEP_EVERY_S):
                usage_rows.sweep(timezone.now(), settings.HUB_USAGE_DAYS)
        except (DatabaseError, OSError) as error:
            self._missed(error)
        else:
            self._away = False
        finally:
            close_old_connections()

    def _missed(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            logger.warning(
                "use is kept on disk: the database takes none", extra={"why": str(error)}
            )
        with contextlib.suppress(OSError):
            self.spool.sync()

    def _adopt(self) -> None:
        with contextlib.suppress(OSError):
            self.spool.adopt()

    def _is_due(self, what: str, every_s: float) -> bool:
        now_s = time.monotonic()
        if now_s < self._due_s.get(what, 0.0):
            return False
        self._due_s[what] = now_s + every_s
        return True


@cache
def of_process() -> Ledger:
    """Return this process's ledger."""
    ledger = Ledger(Spool(Path(settings.HUB_DATA) / "usage"))
    atexit.register(ledger.close)
    return ledger


def drop() -> None:
    """Bring no more and begin anew: between tests."""
    if of_process.cache_info().currsize:
        of_process().end()
        of_process.cache_clear()


def note(entry: Entry) -> None:
    """Note one request in this process's ledger."""
    of_process().note(entry)


def new_uid() -> str:
    """Make the name of a row: unique for ever, whatever a client calls its request."""
    return uuid.uuid4().hex
