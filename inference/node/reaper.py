"""Remember engine processes on disk, so that a node started after a kill -9 ends what is left.

The kernel's death signal does most of it; this is for kernels and cases where it did not.
"""

import contextlib
import json
import os
import signal
from collections.abc import Iterable
from pathlib import Path

import psutil

from inference.node.process import WORKER

START_TOLERANCE_S = 1.0


class Roster:
    def __init__(self, file: Path) -> None:
        self._file = file

    def keep(self, pids: Iterable[int]) -> None:
        """Write down who runs now."""
        alive = {}
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                alive[str(pid)] = psutil.Process(pid).create_time()
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps(alive))
        draft.replace(self._file)

    def reap(self) -> list[int]:
        """Kill the engines of a node that is no more; other users of their numbers are left alone."""
        ended = []
        for pid, born in self._read().items():
            with contextlib.suppress(psutil.Error, OSError):
                if _is_ours(pid, born):
                    os.killpg(pid, signal.SIGKILL)
                    ended.append(pid)
        return ended

    def _read(self) -> dict[int, float]:
        try:
            known = json.loads(self._file.read_bytes())
            return {int(pid): float(born) for pid, born in known.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}


def _is_ours(pid: int, born: float) -> bool:
    """Tell whether an engine, or what it has started, is still there. Raises: psutil.Error.

    A number is not given to a new process while a group bears it: a group without its leader is the
    engine's own, such as a vLLM worker that outlived its server.
    """
    if not psutil.pid_exists(pid):
        return True
    process = psutil.Process(pid)
    return abs(process.create_time() - born) < START_TOLERANCE_S and WORKER in process.cmdline()
