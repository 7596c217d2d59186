"""Rows of training jobs: what is wanted and how far it is, its attempts, what happened, its checkpoints."""

import secrets
from pathlib import Path

from django.conf import settings
from django.db import models

from accounts.models import Owned, OwnedRows
from training.models.datasets import DataSetVersion


def new_job_id() -> str:
    return f"ftjob-{secrets.token_hex(12)}"


class Jobs(OwnedRows["Job"]):
    """Reads of jobs."""

    def waiting(self) -> "Jobs":
        """Those that something is to be done for, the most urgent first."""
        return self.filter(state__in=Job.OPEN).order_by("-priority", "created_at", "pk")


class Job(Owned):
    """One training. `state` changes by compare-and-set in `training.states` alone."""

    class State(models.TextChoices):
        DRAFT = "draft"
        VALIDATING = "validating"
        QUEUED = "queued"
        STARTING = "starting"
        RUNNING = "running"
        PAUSING = "pausing"
        PAUSED = "paused"
        EVALUATING = "evaluating"
        REGISTERING = "registering"
        SUCCEEDED = "succeeded"
        FAILED = "failed"
        CANCELLED = "cancelled"

    OVER = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED})
    ACTIVE = frozenset(
        {State.STARTING, State.RUNNING, State.PAUSING, State.EVALUATING, State.REGISTERING}
    )
    OPEN = ACTIVE | {State.VALIDATING, State.QUEUED}

    id = models.CharField(max_length=64, primary_key=True, default=new_job_id)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="jobs"
    )
    base = models.CharField(max_length=128)
    version = models.ForeignKey(DataSetVersion, on_delete=models.PROTECT, related_name="jobs")
    training_type = models.CharField(max_length=24)
    config = models.JSONField(default=dict)  # as it was asked for
    recipe = models.JSONField(null=True)  # with every value, once the data is known
    reasons = models.JSONField(default=dict)  # of what was not given, by field
    suffix = models.CharField(max_length=64, blank=True)
    seed = models.BigIntegerField(default=42)
    metadata = models.JSONField(default=dict)
    priority = models.SmallIntegerField(default=0)
    is_preemptible = models.BooleanField(default=True)
    # What is asked for beside the training: see training.after.
    prompts = models.JSONField(default=list)
    guard = models.ForeignKey(
        DataSetVersion, null=True, on_delete=models.PROTECT, related_name="guarded"
    )
    gate = models.JSONField(default=dict)  # limits that were given
    exports = models.JSONField(default=list)  # kinds
    verdict = models.JSONField(null=True)  # of the gate, once there is a result

    state = models.CharField(max_length=12, choices=State.choices, default=State.VALIDATING)
    wish = models.CharField(max_length=8, blank=True)  # pause or stop, for the process
    reason = models.TextField(blank=True)  # why it waits or is paused
    position = models.PositiveSmallIntegerField(default=0)  # in the node's queue; 1 is next
    error_code = models.CharField(max_length=64, blank=True)
    error_message = models.TextField(blank=True)
    fine_tuned_model = models.CharField(max_length=128, blank=True)
    result_file_id = models.CharField(max_length=64, blank=True)
    mlflow_run = models.CharField(max_length=64, blank=True)
    mlflow_experiment = models.CharField(max_length=64, blank=True)
    is_tracked = models.BooleanField(default=False)  # nothing more is to be written to MLflow
    stage = models.CharField(max_length=12, default="none")  # what its version is called there

    step = models.PositiveIntegerField(default=0)  # the last that was told
    steps = models.PositiveIntegerField(default=0)
    tokens = models.BigIntegerField(default=0)
    eta_s = models.FloatField(null=True)
    deaths = models.PositiveSmallIntegerField(default=0)  # in a row, without progress
    progress = models.PositiveIntegerField(default=0)  # the step of the last death
    is_halved = models.BooleanField(default=False)  # after it ran out of memory
    estimate_bytes = models.BigIntegerField(default=0)  # of its memory, by the formula
    measured_bytes = models.BigIntegerField(default=0)  # peak of the step that was measured
    limit_bytes = models.BigIntegerField(default=0)  # that the node lends at most; 0: not known
    last_seq = models.PositiveIntegerField(default=0)  # of its events here
    spool_seq = models.PositiveIntegerField(default=0)  # of its spool, as far as it is read
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    objects = Jobs.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = [
            models.Index(fields=["state"]),
            models.Index(fields=["is_tracked"]),
            models.Index(fields=["-created_at", "-id"]),
        ]

    def __str__(self) -> str:
        return self.pk

    @property
    def is_over(self) -> bool:
        return self.state in self.OVER

    def folder(self) -> Path:
        """Give the place of its spool, checkpoints and result."""
        return Path(settings.HUB_DATA) / "jobs" / self.pk


class Attempt(models.Model):
    """One process that trained a job, from its start to its end."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField()
    pid = models.PositiveIntegerField(null=True)
    exit_code = models.IntegerField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    memory_bytes = models.BigIntegerField(default=0)
    started_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("number",)
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="attempt_of_a_job")]

    def __str__(self) -> str:
        return f"{self.job_id}#{self.number}"


class JobEvent(models.Model):
    """What happened; `seq` has no gaps within a job, so that a reader goes on from any of them."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="events")
    seq = models.PositiveIntegerField()
    level = models.CharField(max_length=8, default="info")  # info, warn, error
    type = models.CharField(max_length=16)  # message, metrics, state, or the contract's tag
    message = models.TextField()
    data = models.JSONField(default=dict)
    at = models.DateTimeField()

    class Meta:
        ordering = ("seq",)
        constraints = [models.UniqueConstraint(fields=["job", "seq"], name="event_of_a_job")]

    def __str__(self) -> str:
        return f"{self.job_id} {self.seq}: {self.message}"


class Checkpoint(models.Model):
    """A folder that a job goes on from; `model` is its name in the catalog, once it is there."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="checkpoints")
    step = models.PositiveIntegerField()
    path = models.TextField()
    sha256 = models.CharField(max_length=64)
    loss = models.FloatField(null=True)
    model = models.CharField(max_length=128, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-step",)
        constraints = [models.UniqueConstraint(fields=["job", "step"], name="checkpoint_of_a_job")]

    def __str__(self) -> str:
        return f"{self.job_id} at {self.step}"
