"""How a job's state changes: by compare-and-set, with an event and a row of the audit log each."""

import datetime as dt
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts import audit
from training import minutes, room
from training.models import Job, JobEvent

State = Job.State
SENTENCES: dict[State, str] = {
    State.DRAFT: "The job is a draft.",
    State.VALIDATING: "The data is being checked.",
    State.QUEUED: "The job is queued.",
    State.STARTING: "The job is being prepared.",
    State.RUNNING: "The training has begun.",
    State.PAUSING: "The job pauses after the step at hand.",
    State.PAUSED: "The job is paused.",
    State.EVALUATING: "The result is being evaluated.",
    State.REGISTERING: "The result is being registered.",
    State.SUCCEEDED: "The job has succeeded.",
    State.FAILED: "The job has failed.",
    State.CANCELLED: "The job was cancelled.",
}


def move(job: Job, old: frozenset[State] | set[State], new: State, **fields: Any) -> bool:
    """Change the state if it is one of `old`, and tell whether it was; the row at hand is read anew."""
    before = job.state
    if new in Job.OVER:
        fields |= {"ended_at": timezone.now(), "wish": "", "reason": ""}
    with transaction.atomic():
        is_moved = bool(Job.objects.filter(pk=job.pk, state__in=old).update(state=new, **fields))
        if is_moved:
            why = fields.get("error_message") or fields.get("reason") or ""
            level = "error" if new == State.FAILED else "info"
            told = {"state": str(new), "reason": why}
            tell(job, "state", f"{SENTENCES[new]} {why}".strip(), level, told)
            if new in Job.OVER | {State.PAUSED}:
                minutes.settle(job)
                room.settle(job)
            after = {"state": str(new), "reason": why}
            audit.record(
                "job.move", "job", job.pk, pk=job.pk, before={"state": before}, after=after
            )
    job.refresh_from_db()
    return is_moved


def tell(
    job: Job,
    kind: str,
    message: str,
    level: str = "info",
    data: dict[str, Any] | None = None,
    at: dt.datetime | None = None,
) -> None:
    """Add an event. Call it inside a transaction: the counter's row is locked to its end."""
    Job.objects.filter(pk=job.pk).update(last_seq=F("last_seq") + 1)
    seq = Job.objects.values_list("last_seq", flat=True).get(pk=job.pk)
    JobEvent.objects.create(
        job=job,
        seq=seq,
        type=kind,
        message=message,
        level=level,
        data=data or {},
        at=at or timezone.now(),
    )


def refusal(job: Job, what: str) -> str:
    """Say why something cannot be done to a job: its state, and what follows of it."""
    return f"{SENTENCES[State(job.state)].removesuffix('.')}: {what}"
