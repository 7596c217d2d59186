"""A lock that one process holds, by a file that is there only while it is held. Called by `arrivals`."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def held(file: Path) -> Iterator[bool]:
    """Tell whether nobody else holds it; a process that was killed leaves the file, but no lock."""
    while True:
        with file.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            if _is_at(lock, file):
                try:
                    yield True
                finally:
                    file.unlink(missing_ok=True)
                return


def is_held(file: Path) -> bool:
    """Tell whether somebody holds it. Who tries to in the same instant may find it taken."""
    try:
        with file.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def sweep(folder: Path) -> None:
    """Remove the files of killed processes."""
    for file in folder.glob(".*.lock"):
        with held(file):
            pass


def _is_at(lock: IO[str], file: Path) -> bool:
    """Whoever held it before may have removed it between our opening and locking it."""
    try:
        return os.path.samestat(os.fstat(lock.fileno()), file.stat())
    except FileNotFoundError:
        return False
