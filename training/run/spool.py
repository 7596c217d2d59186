"""Events go to the append-only spool first, then to the pipe. Neither a full disk nor a supervisor
that does not read stops the training: the spool is the truth, the pipe is a hint.
"""

import contextlib
import logging
import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from training import contract
from training.run import logbook

log = logging.getLogger(__name__)


class Spool:
    """Safe to use from several threads. What ends an attempt is its last event."""

    def __init__(self, output: Path, attempt: int, pipe: int | None) -> None:
        """`pipe` is a file descriptor of whole lines; a slow reader misses some (see `seq`)."""
        self._path = output / contract.EVENTS
        self._attempt, self._pipe = attempt, pipe
        self._seq = _last_seq(output)
        self._lock = threading.Lock()
        self._file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o640)
        # A crash may have left half a line: close it, so that the next one is whole.
        self._unwritten: list[bytes] = [] if _ends_a_line(self._file) else [b"\n"]
        self._begun = b""  # of a line, that the pipe had no room for
        self._ended = False
        self.step = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.suppress(OSError):
            os.fsync(self._file)
        os.close(self._file)

    def emit(self, event: contract.Event) -> None:
        with self._lock:
            if self._ended:
                return  # a heartbeat that was on its way
            self._ended = isinstance(event, contract.Ended)
            self._seq += 1
            event.seq, event.at, event.attempt = self._seq, round(time.time(), 3), self._attempt
            line = msgspec.json.encode(event) + b"\n"
            self._append(line)
            self._tell(line)
        if told := logbook.line(event):
            log.info("%s", told)

    def keep(self) -> None:
        """Put all that was told on the disk, before a checkpoint says that it was done. Raises: OSError."""
        with self._lock:
            self._write()
            os.fsync(self._file)

    def _append(self, line: bytes) -> None:
        """What did not fit on the disk is tried again with the next event."""
        self._unwritten.append(line)
        try:
            self._write()
        except OSError:
            with contextlib.suppress(OSError):
                os.utime(self._file)  # the supervisor sees that somebody lives

    def _write(self) -> None:
        """Raises: OSError."""
        while self._unwritten:
            first = self._unwritten[0]
            written = os.write(self._file, first)
            self._unwritten[0] = first[written:]
            if not self._unwritten[0]:
                self._unwritten.pop(0)

    def _tell(self, line: bytes) -> None:
        """A long line may be begun and find no more room: it is ended before another begins."""
        if self._pipe is None:
            return
        try:
            if self._begun:
                self._begun = self._begun[os.write(self._pipe, self._begun) :]
            if not self._begun:
                self._begun = line[os.write(self._pipe, line) :]
        except BlockingIOError:
            return  # the reader is slow: it finds the line in the spool
        except OSError:
            self._pipe = None  # the reader has gone


class Quiet(Spool):
    """That of every rank but the first: one voice is enough."""

    def __init__(self) -> None:
        self.step = 0

    def __exit__(self, *_how: object) -> None:
        return

    def emit(self, event: contract.Event) -> None:
        del event

    def keep(self) -> None:
        return


def _ends_a_line(file: int) -> bool:
    size = os.fstat(file).st_size
    return not size or os.pread(file, 1, size - 1) == b"\n"


def _last_seq(output: Path) -> int:
    return max((event.seq for event in contract.read_events(output)), default=0)
