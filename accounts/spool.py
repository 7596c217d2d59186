"""Rows of use on their way to the database: lines in files of the data folder, never lost, sent once.

`ledger` appends; what a process has sealed, or a dead one left behind, is read back and forgotten when
the database has it. The lock on a file tells whether its process lives.
"""

import fcntl
import os
import secrets
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import msgspec

from accounts.entry import Entry

SUFFIX = ".usage"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Entry).decode


class Spool:
    """The files of one process in a folder that others may share; safe from several threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = f"{os.getpid()}-{secrets.token_hex(6)}"
        self._number = 0
        self._lock = threading.Lock()
        self._open: tuple[Path, int] | None = None
        self._sealed: list[tuple[Path, int]] = []

    def append(self, entry: Entry) -> None:
        """Add one line; it survives the death of this process. Raises: OSError."""
        line = _encode(entry) + b"\n"
        with self._lock:
            if self._open is None:
                self._open = self._begin()
            if os.write(self._open[1], line) != len(line):
                self._seal()  # what is torn ends its file, so that no other line is lost with it
                raise OSError(28, "the disk is full")

    def seal(self) -> None:
        """Let the next line begin a new file."""
        with self._lock:
            self._seal()

    def sync(self) -> None:
        """Bring what was appended onto the disk. Raises: OSError."""
        with self._lock:
            files = [*self._sealed, *([self._open] if self._open else [])]
            for _, descriptor in files:
                os.fsync(descriptor)

    @property
    def waiting(self) -> list[Path]:
        """Give the sealed files, the oldest first."""
        with self._lock:
            return [path for path, _ in self._sealed]

    def adopt(self) -> None:
        """Take over the files of processes that are gone."""
        for path in sorted(self._folder.glob(f"*{SUFFIX}")):
            if (descriptor := _locked(path)) is not None:
                with self._lock:
                    self._sealed.append((path, descriptor))

    def forget(self, path: Path) -> None:
        """Remove a sealed file whose lines the database has."""
        path.unlink(missing_ok=True)
        with self._lock:
            for one in [one for one in self._sealed if one[0] == path]:
                self._sealed.remove(one)
                os.close(one[1])

    def _begin(self) -> tuple[Path, int]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._number += 1
        path = self._folder / f"{self._name}-{self._number:06}{SUFFIX}"
        new = path.with_suffix(".new")  # until it is locked: others take what is not
        descriptor = os.open(new, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        new.rename(path)
        return path, descriptor

    def _seal(self) -> None:
        if self._open is not None:
            self._sealed.append(self._open)
            self._open = None


def entries(path: Path, many: int) -> Iterator[list[Entry]]:
    """Read a file back, so many lines at a time; a torn last line was never acknowledged."""
    with path.open("rb") as lines:
        while chunk := [*islice(lines, many)]:
            yield [entry for line in chunk if (entry := _read(line)) is not None]


def _read(line: bytes) -> Entry | None:
    try:
        return _decode(line)
    except msgspec.MsgspecError:
        return None


def _locked(path: Path) -> int | None:
    """Open and lock a file; None while its process lives (this one too), or where it has just gone."""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    if path.exists():
        return descriptor
    os.close(descriptor)
    return None
