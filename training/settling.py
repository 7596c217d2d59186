"""How an attempt ended, and what its job does next. Called by `supervising`, also after a crash."""

from typing import Any

from django.utils import timezone

from inference.errors import as_sentence
from training import contract, diary, minutes, publish, room, states
from training.models import Attempt, Job

MOST_DEATHS = 3
State = Job.State


def settle(job: Job, yielded: str = "") -> None:
    """Take what the spool says of an attempt that has ended, also under another supervisor.

    `yielded` says why the node wanted its memory back, where it was ended for that.
    """
    diary.catch_up(job)
    job.refresh_from_db()
    last = job.attempts.last()
    job.attempts.filter(ended_at__isnull=True).update(ended_at=timezone.now())
    minutes.settle(job)
    room.settle(job)
    ended = _ended(job, last) if last else None
    match ended:
        case _ if job.is_over:
            return
        case contract.DoneEvent():
            publish.publish(job, ended)
        case _ if job.state == State.PAUSING and not isinstance(ended, contract.FailedEvent):
            states.move(job, {State.PAUSING}, State.PAUSED, wish="", reason=_asked(job, ended))
        case contract.PausedEvent(code="disk_full"):
            reason = f"Disk full: {ended.message}."
            states.move(job, job.ACTIVE, State.PAUSED, error_code="disk_full", reason=reason)
        case _ if yielded and (ended is None or _is_stopped(ended)):
            reason = f"It gave its memory back, and goes on when there is room: {yielded}."
            states.move(job, job.ACTIVE, State.QUEUED, reason=reason)
        case _ if _lost_its_worker(ended, last):
            states.move(job, job.ACTIVE, State.QUEUED, reason="Its worker ended; it goes on.")
        case contract.FailedEvent(exit_code=contract.OUT_OF_MEMORY) if _halve(job):
            return
        case contract.FailedEvent():
            fail(job, ended.code, ended.message)
        case _:
            _died(job)


def _ended(job: Job, last: Attempt) -> contract.Ended | None:
    """Give an attempt's own word or, where a full disk took none, what its exit code says."""
    told = diary.ended(job, last.number)
    if told is None and last.exit_code == contract.PAUSED:
        words = "not even its events could be written"
        return contract.PausedEvent(step=job.step, code="disk_full", message=words)
    if told is None and last.exit_code == contract.OUT_OF_MEMORY:
        words, code = "memory ran out", contract.OUT_OF_MEMORY
        return contract.FailedEvent(code="out_of_memory", message=words, exit_code=code)
    return told


def _lost_its_worker(ended: contract.Ended | None, last: Attempt | None) -> bool:
    """Tell whether nothing is wrong with the job: it was told to end, or never had a process."""
    if ended is None:
        return last is None or last.pid is None
    return _is_stopped(ended)


def _asked(job: Job, ended: contract.Ended | None) -> str:
    if job.error_code == minutes.SPENT:
        return job.reason
    return f"{ended.message}." if isinstance(ended, contract.PausedEvent) else "It was paused."


def _is_stopped(ended: contract.Ended) -> bool:
    """Tell whether it ended because it was told to, not by itself."""
    is_asked = isinstance(ended, contract.FailedEvent) and ended.code == "cancelled"
    return is_asked or isinstance(ended, contract.PausedEvent)


def _halve(job: Job) -> bool:
    """Try once more with half the rows at once and twice the pieces: the same steps."""
    recipe = dict(job.recipe or {})
    if job.is_halved or recipe.get("batch_size", 1) < 2:
        return False
    recipe["gradient_accumulation"] *= 2
    recipe["batch_size"] //= 2
    fields: dict[str, Any] = {"recipe": recipe, "is_halved": True, "measured_bytes": 0}
    fields["reason"] = "It ran out of memory; it goes on with half the batch."
    return states.move(job, job.ACTIVE, State.QUEUED, **fields)


def _died(job: Job) -> None:
    """Start again from the newest checkpoint, three times without progress at most."""
    deaths = 1 if job.step > job.progress else job.deaths + 1
    if deaths >= MOST_DEATHS:
        words = f"The training process ended {deaths} times without progress"
        fail(job, "training_crashed", words)
        return
    fields: dict[str, Any] = {"deaths": deaths, "progress": max(job.step, job.progress)}
    reason = "Its process was ended; it goes on from the last checkpoint."
    states.move(job, job.ACTIVE, State.QUEUED, reason=reason, **fields)


def fail(job: Job, code: str, message: str) -> None:
    states.move(job, job.ACTIVE, State.FAILED, error_code=code, error_message=as_sentence(message))
