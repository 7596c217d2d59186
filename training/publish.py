"""A trained job becomes a model of the catalog that can be called at once. Called by `supervising`."""

import csv
import re
import tempfile
from pathlib import Path
from typing import Any

from django.db import transaction

from accounts import audit
from inference import arrivals, entries
from inference.errors import Conflict, HubError
from inference.models import Model
from training import after, contract, states, store
from training.models import Checkpoint, File, Job

State = Job.State
COLUMNS = ("step", "train_loss", "valid_loss", "learning_rate", "tokens")
LONGEST_BASE = 40  # of the parts of a name, which has 128 letters at most


def publish(job: Job, done: contract.DoneEvent) -> None:
    """Register the result, then say that the job succeeded: whoever reads that may call it.

    A worker that is killed anywhere in between does all of it again: nothing is left out.
    """
    states.move(job, job.ACTIVE - {State.REGISTERING}, State.REGISTERING, error_code="")
    if job.state != State.REGISTERING:
        return  # it was cancelled
    name = name_of(job)
    try:
        _register(job, name, done.path, done.kind)
    except HubError as error:
        fields = {"error_code": error.code, "error_message": error.sentence}
        states.move(job, {State.REGISTERING}, State.FAILED, **fields)
        return
    _publish_checkpoints(job, name, done)
    file_id = _result_file(job)
    made: dict[str, Any] = {"fine_tuned_model": name, "result_file_id": file_id, "step": done.step}
    made["verdict"] = after.judged(job)
    with transaction.atomic():
        if states.move(job, {State.REGISTERING}, State.SUCCEEDED, **made):
            after.finish(job)


def name_of(job: Job) -> str:
    """Give `ft:<base>:<org>:<suffix>:<id>`; the suffix may be empty, as at OpenAI."""
    base = re.sub(r"[^A-Za-z0-9._-]", "-", job.base)[:LONGEST_BASE]
    team = re.sub(r"[^A-Za-z0-9_-]+", "-", job.team.name.lower()).strip("-")[:16] or "hub"
    suffix = job.suffix[:32] or "default"
    return f"ft:{base}:{team}:{suffix}:{job.pk.removeprefix('ftjob-')[:12]}"


def _register(job: Job, name: str, path: str, kind: str) -> None:
    """Do it once, also where a crash left the row behind. Raises: HubError."""
    owner: dict[str, Any] = {"team_id": job.team_id, "visibility": job.visibility}
    row = Model.objects.filter(name=name, source="trained").first()
    if row is None and kind == "adapter":
        row = entries.register_adapter(name, job.base, path, **owner)
    elif row is None:
        row = entries.register_model(name, job.base, path, **owner)
    arrivals.bring(row.pk)
    row.refresh_from_db()
    if row.state != Model.State.AVAILABLE:
        raise Conflict(f"The result could not be registered: {row.state_reason or row.state}.")


def _publish_checkpoints(job: Job, name: str, done: contract.DoneEvent) -> None:
    """Each adapter that is still on the disk gets a name; one that cannot is told, and costs nothing."""
    for found in job.checkpoints.all() if done.kind == "adapter" else ():
        if found.step == done.step or not Path(found.path).is_dir():
            Checkpoint.objects.filter(pk=found.pk).update(model=name * (found.step == done.step))
            continue
        own = f"{name}:ckpt-step-{found.step}"
        try:
            _register(job, own, found.path, "adapter")
        except HubError as error:
            with transaction.atomic():
                states.tell(job, "message", error.sentence, "warn", {"step": found.step})
            continue
        Checkpoint.objects.filter(pk=found.pk).update(model=own)


def _result_file(job: Job) -> str:
    """Write the figures of every step as CSV; a job that crashed here has one already."""
    if job.result_file_id:
        return job.result_file_id
    with store.Incoming() as incoming, tempfile.TemporaryFile("w+", newline="") as text:
        table = csv.DictWriter(text, COLUMNS, extrasaction="ignore", restval="")
        table.writeheader()
        rows = job.events.filter(type__in=("metrics", "evaluation"))
        table.writerows(rows.values_list("data", flat=True))
        text.seek(0)
        incoming.write(text.read().encode())
        file = File(
            owner_id=job.owner_id,
            team_id=job.team_id,
            filename="step_metrics.csv",
            purpose="fine-tune-results",
            size_bytes=incoming.size_bytes,
            sha256=incoming.sha256,
        )
        incoming.keep(file.pk)
        with transaction.atomic():
            file.save(force_insert=True)
            Job.objects.filter(pk=job.pk).update(result_file_id=file.pk)
            audit.record("file.add", "file", file.filename, pk=file.pk, after={"job": job.pk})
    return file.pk
