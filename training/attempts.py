"""One attempt of a job: its memory at the node, its process, and what both say. Called by `supervising`."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import quotas
from inference import wire
from inference.errors import DiskFull, HubError
from training import (
    after,
    bases,
    claims,
    contract,
    diary,
    minutes,
    oom,
    processes,
    resolving,
    room,
    silence,
    states,
    trackers,
)
from training.models import Attempt, Job

LOG = "process.log"
POLL_S = 0.25
LEAVE_S = 2.0
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
DEVICES = "CUDA_VISIBLE_DEVICES"
State = Job.State
PAUSABLE = {State.STARTING, State.RUNNING, State.EVALUATING}
Process = subprocess.Popen[bytes]


class Run:
    """`yielded` says why the memory was wanted back; `is_left`, that the process outlives us."""

    def __init__(self, job: Job, lock: IO[str], stopped: threading.Event) -> None:
        self.job, self._lock, self._stopped = job, lock, stopped
        self.yielded = ""
        self.is_left = False
        self._told = wire.Progress(state="queued")
        self._offset = 0
        self._asked = ""
        self._meter: minutes.Meter | None = None
        self._is_spent = False
        self._claimed = job.measured_bytes
        self._oom_kills = 0
        self._is_silent = False

    def run(self) -> bool:
        """Wait for memory, then follow a process to its end; False where none was begun."""
        with claims.Memory(claims.wish(self.job)) as memory:
            try:
                granted = memory.granted(self._waits, POLL_S)
                process = self._begun(granted) if granted else None
            except quotas.QuotaReached as reached:
                _wait_for_quota(self.job, reached)
                return False
            except DiskFull as error:
                _wait_for_disk(self.job, error)
                return False
            except HubError as error:
                _give_up(self.job, error)
                return False
            if process is None:
                return False
            memory.resize(pid=process.pid)
            self._follow(process, memory)
            self.is_left = process.poll() is None
        return True

    # --- before it starts -------------------------------------------------------------------------

    def _waits(self, told: wire.Progress) -> bool:
        """Say on the row why it waits, and whether it still does."""
        self.job.refresh_from_db()
        if told.reason and told != self._told:
            self._told = told
            rows = Job.objects.filter(pk=self.job.pk, state=State.QUEUED)
            rows.update(reason=claims.waiting(self.job, told), position=told.position)
        return self.job.state == State.QUEUED and not self._stopped.is_set()

    def _begun(self, granted: wire.Granted) -> Process | None:
        """Give the process, or None where a person or the machine would not have it begin.

        Raises: ModelNotFound, InvalidValue, DiskFull; QuotaReached.
        """
        job = self.job
        wanted = _job_file(job, granted)
        room.reserve(job, resolving.most_bytes(job))
        started = {"started_at": job.started_at or timezone.now()}
        fresh = {"wish": job.wish * (job.wish == "stop"), "reason": "", "position": 0}
        fresh["error_code"] = ""
        with transaction.atomic():  # a job that starts has an attempt of its own
            if not states.move(job, {State.QUEUED}, State.STARTING, **started, **fresh):
                room.settle(job)
                return None
            attempt = Attempt.objects.create(job=job, number=wanted.attempt)
            meter = minutes.Meter(attempt)
            meter.begin()
        try:
            contract.write_job(wanted, job.folder() / contract.JOB)
            process = _popen(job.folder(), self._lock, granted.device)
        except OSError as error:
            _not_begun(attempt, error)
            return None
        Attempt.objects.filter(pk=attempt.pk).update(pid=process.pid)
        self._meter = meter
        return process

    # --- while it runs ----------------------------------------------------------------------------

    def _follow(self, process: Process, memory: claims.Memory) -> None:
        """Read its spool and pass wishes on, until it has ended or we must go."""
        self._oom_kills = oom.kills()
        pulse = silence.Pulse(self.job.folder())
        while process.poll() is None and not self._stopped.is_set():
            self._offset = diary.catch_up(self.job, self._offset)
            self.job.refresh_from_db()
            self._measure(memory)
            self._hold_to_quota(process)
            self._end_silent(process, pulse)
            self._obey(process, memory)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_S)
        if self._stopped.is_set():
            _leave(process)
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        if process.returncode is not None:
            _end_group(process)
            numbers = self.job.attempts.order_by("-number").values_list("pk", flat=True)[:1]
            rows = self.job.attempts.filter(pk__in=[*numbers])
            rows.update(exit_code=oom.exit_code(process.returncode, self._oom_kills))

    def _measure(self, memory: claims.Memory) -> None:
        """The claim follows the step that was measured."""
        if self.job.measured_bytes != self._claimed:
            self._claimed = self.job.measured_bytes
            memory.resize(claim_bytes=claims.claim_bytes(self.job))

    def _hold_to_quota(self, process: Process) -> None:
        """Pause in time where nobody may have the next minute; what cannot pause ends with the last."""
        if self._meter is None or self.job.state == State.CANCELLED:
            return
        if self._is_spent:
            if self._meter.is_over:
                _end_group(process)
            return
        try:
            self._meter.extend(minutes.lead_s(self.job))
        except quotas.QuotaReached as reached:
            self._is_spent = True
            told = {"error_code": minutes.SPENT, "reason": minutes.reason(reached)}
            states.move(self.job, PAUSABLE, State.PAUSING, wish="pause", **told)

    def _end_silent(self, process: Process, pulse: silence.Pulse) -> None:
        """What hangs is begun anew from its last checkpoint, as after a death."""
        if not self._is_silent and pulse.is_lost():
            self._is_silent = True
            silence.tell(self.job)
            _end_group(process)

    def _obey(self, process: Process, memory: claims.Memory) -> None:
        if self.job.state == State.CANCELLED:
            end(process)
            return
        if not self.yielded and memory.is_wanted_back():
            self._yield(process, memory.reason)
        if self.job.wish not in {"", self._asked}:
            self._asked = self.job.wish
            _ask(process, self._asked)

    def _yield(self, process: Process, reason: str) -> None:
        """Between steps it pauses; where no step is under way, nothing is lost by ending it."""
        self.yielded = reason
        if self.job.state in {State.RUNNING, State.PAUSING}:
            _ask(process, "pause")
        else:
            end(process, grace_s=0.0)


def _wait_for_quota(job: Job, reached: quotas.QuotaReached) -> None:
    job.refresh_from_db()
    told = {"error_code": minutes.SPENT, "reason": minutes.reason(reached), "position": 0}
    states.move(job, {State.QUEUED}, State.PAUSED, **told)


def _wait_for_disk(job: Job, error: DiskFull) -> None:
    """`supervising` goes on with it once there is room."""
    job.refresh_from_db()
    told = {"error_code": "disk_full", "reason": f"Disk full: {error.message}.", "position": 0}
    states.move(job, {State.QUEUED}, State.PAUSED, **told)


def _give_up(job: Job, error: HubError) -> None:
    fields = {"error_code": error.code, "error_message": error.sentence, "position": 0}
    states.move(job, {State.QUEUED}, State.FAILED, **fields)


def _not_begun(attempt: Attempt, error: OSError) -> None:
    """Pause until there is room or, where the machine refuses for another reason, until a person resumes."""
    job, is_full = attempt.job, error.errno in FULL
    minutes.forget(attempt)
    attempt.delete()
    reason = f"{'Disk full' if is_full else 'Its process could not start'}: {error.strerror}."
    code = "disk_full" if is_full else ""
    states.move(job, {State.STARTING}, State.PAUSED, reason=reason, error_code=code)


def _job_file(job: Job, granted: wire.Granted) -> contract.Job:
    """Raises: ModelNotFound, InvalidValue, NodeUnavailable."""
    version = job.version
    held = version.validation_path()
    return contract.Job(
        id=job.pk,
        base=str(bases.find(job.base)[1].resolve()),
        output=str(job.folder().resolve()),
        data=contract.Data(
            format=version.format,  # type: ignore[arg-type]  # the check wrote one of these
            train=str(version.train_path().resolve()),
            validation=str(held.resolve()) if held else None,
            sha256=version.sha256,
        ),
        recipe=resolving.recipe_of(job),
        seed=job.seed,
        attempt=job.attempts.count() + 1,
        device="cuda" if granted.device.startswith("cuda") else "cpu",
        limits=contract.Limits(memory_bytes=job.limit_bytes or None),
        evaluate=after.evaluation(job),
        hub_version=settings.HUB_VERSION,
        tags=trackers.tags(job),
    )


def _popen(folder: Path, lock: IO[str], device: str) -> Process:
    """A process group of its own, a bare environment, a pipe whose end tells that we have gone."""
    with (folder / LOG).open("ab") as said:
        return subprocess.Popen(
            [sys.executable, "-m", "training.run", str(folder / contract.JOB)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            env=processes.environment(DEVICES) | _chosen(device),
            cwd=settings.BASE_DIR,
            pass_fds=(lock.fileno(),),
            process_group=0,
        )


def _chosen(device: str) -> dict[str, str]:
    """Let it see the one device that was lent, or none; the node counts those that it sees itself."""
    number = device.partition("cuda:")[2]
    if not number:
        return {} if device.startswith("cuda") else {DEVICES: ""}
    seen = [name.strip() for name in os.environ.get(DEVICES, "").split(",") if name.strip()]
    return {DEVICES: seen[int(number)] if int(number) < len(seen) else number}


def _ask(process: Process, wish: str) -> None:
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.write(wish.encode() + b"\n")
            process.stdin.flush()


def _leave(process: Process) -> None:
    """The worker ends: the process pauses by itself after its step, and keeps the lock until then."""
    _ask(process, "pause")
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(LEAVE_S)


def end(process: Process, grace_s: float = 1.0) -> None:
    """Ask, then end the whole group; what a checkpoint holds is whole either way."""
    _ask(process, "cancel")
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(grace_s)
    _end_group(process)
    process.wait()


def _end_group(process: Process) -> None:
    """Whatever it started ends with it."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
