"""A process that was started to help ends with the one that started it, even by kill -9."""

import os
import stat
import threading


def leave_with_parent() -> None:
    """Where standard input is a pipe, leave when its other end has closed."""
    if stat.S_ISFIFO(os.fstat(0).st_mode):
        threading.Thread(target=_wait, daemon=True, name="leaving").start()


def _wait() -> None:
    while os.read(0, 4096):
        continue
    os._exit(0)
