"""What those who supervise a process share: who may, with which environment. Called in the worker."""

import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from django.db import close_old_connections, connection

log = logging.getLogger(__name__)

LOCK = ".lock"
KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


@contextmanager
def alone(folder: Path) -> Iterator[IO[str] | None]:
    """Give the lock of a folder, made where it is missing, or None where somebody else is at it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield lock


def environment(*more: str) -> dict[str, str]:
    """Give what a process needs to start: no secret, no address."""
    return {name: os.environ[name] for name in (*KEPT, *more) if name in os.environ}


def reconnect() -> None:
    """The database may have ended a connection that waited for long."""
    if not connection.in_atomic_block:
        close_old_connections()


def looked_after(
    name: str,
    turn: Callable[[], None],
    every_s: float,
    stopped: threading.Event,
    leave: Callable[[], None] = lambda: None,
) -> threading.Thread:
    """Start a thread of the worker that takes its turn again and again, until told to stop."""

    def run() -> None:
        while not stopped.is_set():
            try:
                turn()
            # Whatever it is: the next turn may do better.
            except Exception:
                log.exception("%s could not be looked after", name)
            finally:
                reconnect()
            stopped.wait(every_s)
        leave()

    thread = threading.Thread(target=run, name=name)
    thread.start()
    return thread
