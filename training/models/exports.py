"""Rows of exports: a job's result in another form, made after the job and checked against it."""

from pathlib import Path

from django.db import models

from training.models.jobs import Job


class Export(models.Model):
    """One form of a job's result; asked for again, it is made again."""

    HOLDER = "export:"

    class Kind(models.TextChoices):
        ADAPTER = "adapter"
        MERGED = "merged"
        GGUF = "gguf"

    class State(models.TextChoices):
        WAITING = "waiting"
        RUNNING = "running"
        READY = "ready"
        FAILED = "failed"

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="made")
    kind = models.CharField(max_length=8, choices=Kind.choices)
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    reason = models.TextField(blank=True)  # why it failed
    report = models.JSONField(null=True)  # its answers beside the original's
    size_bytes = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("kind",)
        constraints = [models.UniqueConstraint(fields=["job", "kind"], name="export_of_a_job")]

    def __str__(self) -> str:
        return f"{self.job_id} as {self.kind}"

    @property
    def holder(self) -> str:
        """What its bytes are called in the quota."""
        return f"{self.HOLDER}{self.job_id}:{self.kind}"

    def folder(self) -> Path:
        return self.job.folder() / "exports" / self.kind
