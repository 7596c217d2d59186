"""What MLflow calls a job's version: candidate, champion, previous. It follows the aliases, whoever moved them.

Asked for in the job's folder; a tracker sees to it.
"""

from django.db.models import Q

from inference.models import Alias
from training.models import Job
from training.tracking import bookmark
from training.tracking.bookmark import Stage


def ask(job: Job, stage: Stage) -> None:
    """Raises: OSError."""
    bookmark.ask_stage(job.folder(), stage)
    Job.objects.filter(pk=job.pk).update(is_tracked=False, stage=stage)


def follow_aliases() -> None:
    """Let each job's version be called what its model is now. Called at each change and by the worker."""
    now = _by_model()
    named = Q(fine_tuned_model__in=[*now]) | Q(stage__in=("champion", "previous"))
    for job in Job.objects.filter(named, state=Job.State.SUCCEEDED):
        stage = now.get(job.fine_tuned_model, "none")
        if stage != job.stage:
            ask(job, stage)


def _by_model() -> dict[str, Stage]:
    rows = Alias.objects.select_related("target")
    former: dict[str, Stage] = {
        target["model"]: "previous" for alias in rows for target in alias.former
    }
    return former | {alias.target.name: "champion" for alias in rows}
