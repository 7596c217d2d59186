"""Trainings that want a decision: those that failed lately, and those that nobody hears from."""

import datetime as dt
from dataclasses import dataclass

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from accounts.principals import Principal
from training.models import Attempt, Job

READ = "training:read"
LATELY = dt.timedelta(days=1)
SILENT = dt.timedelta(minutes=2)  # its process tells every 5 s that it lives
SHOWN = 5


@dataclass(frozen=True, slots=True)
class JobConcern:
    kind: str  # job_failed, job_stuck
    job: Job


def of(who: Principal) -> list[JobConcern]:
    """Give those that are there for this person, the newest first."""
    if not who.allows(READ):
        return []
    rows = Job.objects.visible_to(who).order_by("-created_at")
    failed = rows.filter(state=Job.State.FAILED, ended_at__gt=timezone.now() - LATELY)
    found = [JobConcern("job_failed", job) for job in failed[:SHOWN]]
    return [JobConcern("job_stuck", job) for job in _stuck(rows)[:SHOWN]] + found


def _stuck(rows: QuerySet[Job]) -> QuerySet[Job]:
    """Those with a process that should tell that it lives, and does not."""
    before = timezone.now() - SILENT
    silent = Q(heartbeat_at__lt=before) | Q(heartbeat_at=None, started_at__lt=before)
    open_ones = Attempt.objects.filter(silent, job=OuterRef("pk"), ended_at=None)
    return rows.filter(Exists(open_ones), state__in=Job.ACTIVE)
