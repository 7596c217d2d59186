"""Minutes of training as a quota counts them: set aside before they are trained, settled with what it took.

A job that waits for its turn holds its next one. An attempt holds the minutes that it has begun and asks for the next
one ahead of time, so that jobs side by side never hold, and so never train, more than there is.
"""

import time

from django.db import transaction
from django.utils import timezone

from accounts import quotas
from training import allowance
from training.models import Attempt, Job

KIND: quotas.Kind = "training_minutes"
SPENT = "quota_reached"  # the code of a job that paused for it
MINUTE_S = 60.0
LEAD_S = 10.0  # asked for ahead, beside two steps: a pause comes after the step at hand
LONGEST_LEAD_S = 600.0
END_S = 2.0  # before its last minute is over, what did not pause is ended


def book(job: Job) -> None:
    """Set aside what it takes to begin. Raises: RateLimited."""
    amount = _minutes(sum(map(_took_s, job.attempts.all())), LEAD_S)
    allowance.reserve(_bearer(job), KIND, amount, job.pk)


def settle(job: Job) -> None:
    """Count what its attempts took, each minute of all together that was begun, and nothing more."""
    quotas.release(KIND, job.pk)
    before_s = 0.0
    for attempt in job.attempts.all():
        took_s = _took_s(attempt)
        quotas.settle(KIND, holder(attempt), _minutes(before_s, took_s))
        before_s += took_s


def forget(attempt: Attempt) -> None:
    """Give back what an attempt held that never had a process."""
    quotas.release(KIND, holder(attempt))


def reason(reached: quotas.QuotaReached) -> str:
    return f"{reached} It keeps its last checkpoint, and can be resumed when there is room."


def lead_s(job: Job) -> float:
    """Give the time after which a process that is asked to pause now has surely paused."""
    step_s = (job.eta_s or 0.0) / max(1, job.steps - job.step)
    return min(LEAD_S + 2 * step_s, LONGEST_LEAD_S)


class Meter:
    """What an attempt that runs holds, and has taken of it."""

    def __init__(self, attempt: Attempt) -> None:
        job = attempt.job
        earlier = job.attempts.filter(number__lt=attempt.number)
        self._attempt, self._bearer = attempt, _bearer(job)
        self._before_s = sum(_took_s(one) for one in earlier)
        self._started_s = time.monotonic()
        self._held = 0

    def begin(self) -> None:
        """Put what the attempt holds in place of what the job held. Raises: QuotaReached."""
        with transaction.atomic():
            quotas.release(KIND, self._attempt.job_id)
            self.extend(LEAD_S)

    def extend(self, ahead_s: float) -> None:
        """Hold what will have been begun in so many seconds. Raises: QuotaReached, with no change."""
        wanted = _minutes(self._before_s, self._took_s() + ahead_s)
        if wanted > self._held:
            quotas.reserve(self._bearer, KIND, wanted, holder(self._attempt))
            self._held = wanted

    @property
    def is_over(self) -> bool:
        return _minutes(self._before_s, self._took_s() + END_S) > self._held

    def _took_s(self) -> float:
        return time.monotonic() - self._started_s


def holder(attempt: Attempt) -> str:
    return f"{attempt.job_id}#{attempt.number}"


def _bearer(job: Job) -> quotas.Bearer:
    return quotas.Bearer(job.owner_id, job.team_id)


def _took_s(attempt: Attempt) -> float:
    return ((attempt.ended_at or timezone.now()) - attempt.started_at).total_seconds()


def _minutes(before_s: float, took_s: float) -> int:
    """Count the minutes that began in this time, after so much of earlier attempts."""
    return _begun(before_s + took_s) - _begun(before_s)


def _begun(seconds: float) -> int:
    return -int(-seconds // MINUTE_S)
