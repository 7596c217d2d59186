"""Rows of limits that are edited live, and of what quotas hold."""

from django.db import models

COUNTED = ("requests_per_minute", "tokens_per_hour", "concurrent_requests")  # of requests


class Limit(models.Model):
    """The limits of one subject. Null: what `rate_limits` of the file says; 0: none of this kind.

    `subject` is `everyone`, or `key:<public id>`, `user:<pk>`, `team:<pk>`, `model:<name>`.
    """

    subject = models.CharField(max_length=160, unique=True)
    requests_per_minute = models.PositiveBigIntegerField(null=True, blank=True)
    tokens_per_hour = models.PositiveBigIntegerField(null=True, blank=True)
    concurrent_requests = models.PositiveBigIntegerField(null=True, blank=True)
    storage_bytes = models.PositiveBigIntegerField(null=True, blank=True)
    training_minutes = models.PositiveBigIntegerField(null=True, blank=True)  # in 30 days
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("subject",)

    def __str__(self) -> str:
        return f"limits of {self.subject}"


class Holding(models.Model):
    """What something takes of a quota: bytes that lie on the disk, minutes that a job trained."""

    kind = models.CharField(max_length=32)  # storage_bytes | training_minutes
    holder = models.CharField(max_length=160)  # `dataset:12`, `job:7`
    amount = models.PositiveBigIntegerField()
    settled = models.BooleanField(default=False)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("kind", "holder"), name="one_holding_of_a_holder"),
        )

    def __str__(self) -> str:
        return f"{self.amount} {self.kind} of {self.holder}"


class HoldingShare(models.Model):
    """One holding as one subject bears it: what sums are made of."""

    holding = models.ForeignKey(Holding, on_delete=models.CASCADE, related_name="shares")
    subject = models.CharField(max_length=160)

    class Meta:
        indexes = (models.Index(fields=("subject",), name="holding_subject"),)

    def __str__(self) -> str:
        return f"{self.holding_id} of {self.subject}"
