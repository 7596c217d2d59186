"""Supervises training jobs, from threads of the worker: one for each job, one process for each attempt.

The row is the truth about what is wanted, the spool about what was done. The lock of a job's folder is
held by its supervisor and, through an inherited descriptor, by its process: while either lives, no other
worker touches the job, and the kernel frees it when both have ended, however they ended.
"""

import logging
import threading
from pathlib import Path

from django.db import connections

from inference.errors import HubError, NodeUnavailable
from training import attempts, jobs, processes, resolving, room, settling, silence, states
from training.models import Job

log = logging.getLogger(__name__)

EVERY_S = 1.0
MOST_AT_ONCE = 8  # that run or wait for memory; the node decides which of them have it
PAGE_BYTES = 4096
RESUME_FREE_BYTES = 256 * 2**20  # less free than this, and a job stays paused for the disk
State = Job.State


def start(stopped: threading.Event) -> threading.Thread:
    """Do all that is to be done for jobs, until told to stop."""
    crew = Crew(stopped)
    return processes.looked_after("jobs", crew.turn, EVERY_S, stopped, crew.leave)


class Crew:
    """The jobs that this worker is at, each in a thread of its own."""

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped
        self._threads: dict[str, threading.Thread] = {}
        self._pulses: dict[str, silence.Pulse] = {}  # of jobs that somebody else is at

    def turn(self) -> None:
        """Prepare what has been checked, take up what a crash left, begin what waits."""
        _resume_for_disk()
        self._threads = {pk: one for pk, one in self._threads.items() if one.is_alive()}
        for job in Job.objects.waiting().select_related("version"):
            if self._stopped.is_set():
                return
            if job.state == State.VALIDATING:
                _prepare(job)
            elif job.pk not in self._threads and len(self._threads) < MOST_AT_ONCE:
                self._begin(job.pk)

    def leave(self) -> None:
        for thread in self._threads.values():
            thread.join()

    def _begin(self, job_id: str) -> None:
        name = f"job {job_id}"
        thread = threading.Thread(target=self._look_after, args=(job_id,), name=name)
        self._threads[job_id] = thread
        thread.start()

    def _look_after(self, job_id: str) -> None:
        try:
            self._supervise(job_id)
        except Exception:
            log.exception("a job could not be looked after", extra={"job": job_id})
        finally:
            connections.close_all()

    def _supervise(self, job_id: str) -> None:
        """Do it, or see to it that what another worker left behind does not hang."""
        if supervise(job_id, self._stopped):
            self._pulses.pop(job_id, None)
            return
        pulse = self._pulses.setdefault(job_id, silence.Pulse(Job(pk=job_id).folder()))
        if silence.end_orphan(job_id, pulse):
            self._pulses.pop(job_id)


def _prepare(job: Job) -> None:
    try:
        jobs.prepare(job)
    except NodeUnavailable as error:
        rows = Job.objects.filter(pk=job.pk, state=State.VALIDATING)
        rows.update(reason=f"Its memory cannot be planned yet: {error.sentence}")
    # Whatever it is: the jobs behind it are not to wait for it.
    except Exception:
        log.exception("a job could not be prepared", extra={"job": job.pk})


def _resume_for_disk() -> None:
    """Go on with jobs that ended for want of disk, once there is room for what each still writes."""
    for job in Job.objects.filter(state=State.PAUSED, error_code="disk_full"):
        has_room = room.free_bytes() > RESUME_FREE_BYTES + _still_bytes(job)
        if has_room and _takes_files(job.folder()):
            states.move(job, {State.PAUSED}, State.QUEUED, reason="", error_code="")


def _still_bytes(job: Job) -> int:
    """What cannot be told any more is told by the attempt that finds it missing."""
    try:
        return max(0, resolving.most_bytes(job) - room.size_bytes(job))
    except HubError:
        return 0


def _takes_files(folder: Path) -> bool:
    """Try it: a quota, or a disk without inodes, has room by its size alone."""
    trial = folder / ".room"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial.write_bytes(bytes(PAGE_BYTES))
        trial.unlink()
    except OSError:
        return False
    return True


def supervise(job_id: str, stopped: threading.Event) -> bool:
    """Run one job to its end or pause; False where another worker does, or its process goes on."""
    folder = Job(pk=job_id).folder()
    with processes.alone(folder) as lock:
        if lock is None:
            return False
        job = Job.objects.select_related("version", "team", "owner").get(pk=job_id)
        while job.state in Job.OPEN and job.state != State.VALIDATING and not stopped.is_set():
            if job.state != State.QUEUED:
                settling.settle(job)
            else:
                run = attempts.Run(job, lock, stopped)
                is_begun = run.run()
                if run.is_left:
                    return True  # whoever comes next settles it
                if is_begun:
                    settling.settle(job, run.yielded)
            job.refresh_from_db()
    return True
