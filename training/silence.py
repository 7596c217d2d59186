"""A training process that says nothing any more, though its heart beats every 5 s: noticed, and ended.

Called by `attempts` for its own process, by `supervising` for one that a worker left behind.
"""

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil
from django.conf import settings
from django.db import transaction

from training import contract, states
from training.models import Job

LONGEST_LOOK_S = 2.0  # counted between two looks: while the machine slept nobody could speak
PATIENCE = 2  # times as long for another's process: whoever supervises it comes first
CODE = "process_silent"


class Pulse:
    """How long a spool has not changed while somebody looked."""

    def __init__(self, folder: Path) -> None:
        self._spool = folder / contract.EVENTS
        self._mark, self._looked_s = self._read(), time.monotonic()
        self._silent_s = 0.0

    def is_lost(self, times: int = 1) -> bool:
        """Look once more; tell whether it is silent for as long as is borne, so many times."""
        mark, now_s = self._read(), time.monotonic()
        self._silent_s += min(now_s - self._looked_s, LONGEST_LOOK_S)
        if mark != self._mark:
            self._silent_s = 0.0
        self._mark, self._looked_s = mark, now_s
        return self._silent_s >= settings.HUB_TRAINING_HANG_TIMEOUT_S * times

    def _read(self) -> tuple[int, int]:
        """A disk that is full takes no event, but its time still changes (`run.spool`)."""
        try:
            found = self._spool.stat()
        except OSError:
            return 0, 0
        return found.st_mtime_ns, found.st_size


def tell(job: Job) -> None:
    limit_s = settings.HUB_TRAINING_HANG_TIMEOUT_S
    with transaction.atomic():
        words = f"Its process said nothing for {limit_s} s: it was ended."
        states.tell(job, "message", words, "warn", {"code": CODE})


def end_orphan(job_id: str, pulse: Pulse) -> bool:
    """End a process whose supervisor is gone and that hangs: it would hold the job's lock for ever."""
    if not pulse.is_lost(PATIENCE):
        return False
    job = Job.objects.get(pk=job_id)
    last = job.attempts.filter(ended_at__isnull=True).last()
    if last is None or last.pid is None or not _trains(last.pid, job.folder()):
        return False
    tell(job)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(last.pid, signal.SIGKILL)
    return True


def _trains(pid: int, folder: Path) -> bool:
    """A number may have become another's, or be one of another machine."""
    try:
        return str(folder / contract.JOB) in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False
