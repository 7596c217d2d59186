"""What jobs leave on the disk goes: with its job, some days after its end, or where no row leads to it.

`remove` is called by API and pages, `sweep` once an hour by the worker. A folder that a model of the catalog lies in stays.
"""

import datetime as dt
import shutil
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import audit, quotas
from accounts.principals import Principal
from inference.errors import Conflict
from inference.models import Model
from training import contract, files, jobs, processes, room, states
from training.models import Export, Job

State = Job.State
REMOVABLE = Job.OVER | {State.DRAFT}
MOST_NAMED = 5


def remove(job: Job, who: Principal) -> None:
    """Take away a job that is over, or a draft, with all that lies in its folder.

    Raises: PermissionDenied, Conflict.
    """
    jobs.check_held(job, who)
    with processes.alone(job.folder()) as lock:
        if lock is None:
            raise Conflict(
                states.refusal(job, "its process is still ending; try again in a moment.")
            )
        _refuse_in_use(job)
        with transaction.atomic():
            _forget(job)
        shutil.rmtree(job.folder(), ignore_errors=True)


def _forget(job: Job) -> None:
    """Raises: Conflict."""
    before = {"state": job.state, "base": job.base, "model": job.fine_tuned_model}
    held = [one.holder for one in job.made.all()]
    if not Job.objects.filter(pk=job.pk, state__in=REMOVABLE).delete()[0]:
        raise Conflict(states.refusal(job, "cancel it first."))
    for name in (room.holder(job), *held):
        quotas.release(files.STORAGE, name)
    audit.record("job.remove", "job", job.pk, pk=job.pk, before=before)


def _refuse_in_use(job: Job) -> None:
    """Raises: Conflict."""
    if job.made.filter(state=Export.State.RUNNING).exists():
        raise Conflict("One of its exports is being made now.")
    names = [model.name for model in _models_in(job.folder())]
    if names:
        more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        told = ", ".join(sorted(names)[:MOST_NAMED])
        raise Conflict(f"Models that it made are in the catalog: {told}{more}. Remove them first.")


def _models_in(folder: Path) -> Iterator[Model]:
    """Those whose files lie in a job's folder, by whatever way it is named."""
    place = folder.resolve()
    for model in Model.objects.filter(path__contains=f"/{folder.name}/"):
        if Path(model.path).resolve().is_relative_to(place):
            yield model


# --- once an hour ---------------------------------------------------------------------------------


def sweep() -> int:
    """Give how many folders went."""
    return _sweep_orphans() + _sweep_checkpoints() + _reconcile()


def _sweep_orphans() -> int:
    """Of jobs that were removed while somebody wrote there, or whose removal was cut short."""
    folders = [one for one in (Path(settings.HUB_DATA) / "jobs").glob("ftjob-*") if one.is_dir()]
    names = [folder.name for folder in folders]
    there = {*Job.objects.filter(pk__in=names).values_list("pk", flat=True)}
    gone = [folder for folder in folders if folder.name not in there]
    return sum(_cleared(folder) for folder in gone)


def _cleared(folder: Path) -> bool:
    if any(_models_in(folder)):
        return False
    with processes.alone(folder) as lock:
        if lock is None:
            return False
        shutil.rmtree(folder, ignore_errors=True)
    return True


def _sweep_checkpoints() -> int:
    """Those of jobs that ended so long ago that nobody asked for them; what became a model stays."""
    if not settings.HUB_CHECKPOINT_DAYS:
        return 0
    ended = timezone.now() - dt.timedelta(days=settings.HUB_CHECKPOINT_DAYS)
    old = Job.objects.filter(state__in=Job.OVER, ended_at__lt=ended)
    return sum(_drop_checkpoints(job) for job in old.iterator())


def _drop_checkpoints(job: Job) -> int:
    found = [*(job.folder() / contract.CHECKPOINTS).glob("step-*")]
    kept = {Path(model.path).resolve() for model in _models_in(job.folder())} if found else set()
    gone = [folder for folder in found if folder.resolve() not in kept]
    for folder in gone:
        shutil.rmtree(folder, ignore_errors=True)
    if gone:
        with transaction.atomic():
            room.settle(job)
            words = f"{len(gone)} checkpoints were removed, {settings.HUB_CHECKPOINT_DAYS} days after its end."
            states.tell(job, "message", words)
            audit.record("job.checkpoints_remove", "job", job.pk, pk=job.pk)
    return len(gone)


def _reconcile() -> int:
    """Count what lies there for jobs that nobody is at: of before this was counted, or of a worker that died."""
    promised = {*quotas.promised(files.STORAGE, room.HOLDER)}
    for job in Job.objects.exclude(state__in=Job.OPEN).iterator():
        name = room.holder(job)
        if name in promised or (not quotas.is_held(files.STORAGE, name) and job.folder().is_dir()):
            room.settle(job)
    return 0
