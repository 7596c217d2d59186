"""From a job's spool to its rows: each event once, whoever reads it and however often.

How far the spool is read is written in the same transaction as what was read.
"""

import datetime as dt

from django.db import transaction

from training import contract, states
from training.models import Checkpoint, Job

State = Job.State


def catch_up(job: Job, offset: int = 0) -> int:
    """Take over what is new after `offset` bytes, and give the next offset.

    Called by whoever holds the job's lock; from 0 the whole spool is read, and nothing is taken twice.
    """
    told, offset = contract.read_on(job.folder(), offset)
    events = [one for one in told if one.seq > job.spool_seq]
    if not events:
        return offset
    with transaction.atomic():
        for event in events:
            _take(job, event)
        Job.objects.filter(pk=job.pk).update(spool_seq=events[-1].seq)
    job.spool_seq = events[-1].seq
    return offset


def ended(job: Job, attempt: int) -> contract.Ended | None:
    """Give how an attempt ended by its own word, or None where it was ended."""
    for event in contract.read_events(job.folder()):
        if event.attempt == attempt and isinstance(event, contract.Ended):
            return event
    return None


def _take(job: Job, event: contract.AnyEvent) -> None:
    at = dt.datetime.fromtimestamp(event.at, dt.UTC)
    match event:
        case contract.HeartbeatEvent():
            rows = job.attempts.filter(number=event.attempt)
            rows.update(heartbeat_at=at, memory_bytes=event.memory_bytes)
        case contract.PhaseEvent():
            _phase(job, event)
        case contract.StepEvent():
            _step(job, event, at)
        case contract.CheckpointEvent():
            _checkpoint(job, event, at)
        case contract.EvaluationEvent():
            scores = {"step": event.step, "valid_loss": event.loss, **event.metrics}
            text = f"Step {event.step}: validation loss={event.loss:.4f}"
            states.tell(job, "evaluation", text, data=scores, at=at)
        case contract.WarningEvent():
            states.tell(job, "message", event.message, "warn", {"code": event.code}, at)
        case contract.PlanEvent():
            Job.objects.filter(pk=job.pk).update(measured_bytes=event.plan["peak_bytes"])
            states.tell(job, "plan", "One step was measured.", data=event.plan, at=at)
        case contract.SampleEvent():
            asked = {"step": event.step, "prompt": event.prompt, "base": event.base}
            states.tell(job, "sample", event.answer, data=asked, at=at)
        case contract.ExportEvent():
            made = {"kind": event.kind, "report": event.report}
            states.tell(job, "export", f"Exported as {event.kind}.", data=made, at=at)


def _phase(job: Job, event: contract.PhaseEvent) -> None:
    if event.phase == "training":
        states.move(job, {State.STARTING}, State.RUNNING)
    elif event.phase == "evaluating":
        states.move(job, {State.STARTING, State.RUNNING}, State.EVALUATING)


def _step(job: Job, event: contract.StepEvent, at: dt.datetime) -> None:
    """A resumed attempt tells some steps again: each is kept once."""
    rows = Job.objects.filter(pk=job.pk, step__lt=event.step)
    told = {"steps": event.steps, "tokens": event.tokens, "eta_s": event.eta_s}
    if not rows.update(step=event.step, **told):
        return
    data = {
        "step": event.step,
        "total_steps": event.steps,
        "train_loss": event.loss,
        "learning_rate": event.learning_rate,
        "grad_norm": event.grad_norm,
        "tokens": event.tokens,
        "tokens_per_s": event.tokens_per_s,
        "memory_bytes": event.memory_bytes,
        "epoch": event.epoch,
        **event.metrics,
    }
    text = f"Step {event.step}/{event.steps}: training loss={event.loss:.4f}"
    states.tell(job, "metrics", text, data=data, at=at)


def _checkpoint(job: Job, event: contract.CheckpointEvent, at: dt.datetime) -> None:
    values = {"path": event.path, "sha256": event.sha256, "loss": event.loss}
    _, is_new = Checkpoint.objects.update_or_create(job=job, step=event.step, defaults=values)
    if is_new:
        data = {"step": event.step}
        states.tell(job, "checkpoint", f"Checkpoint at step {event.step}.", data=data, at=at)
