"""Rows of data sets: a name, and under it versions that never change."""

import secrets
from pathlib import Path

from django.conf import settings
from django.db import models

from accounts.models import Owned, OwnedRows
from training import shelf


def new_id() -> str:
    return f"dataset-{secrets.token_hex(16)}"


def new_version_id() -> str:
    return f"dsv-{secrets.token_hex(16)}"


class DataSets(OwnedRows["DataSet"]):
    """Reads of data sets."""


class DataSet(Owned):
    """A name for what a team trains on; its content is in its versions."""

    id = models.CharField(max_length=64, primary_key=True, default=new_id)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="data_sets"
    )
    name = models.CharField(max_length=128)
    description = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = DataSets.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = [
            models.UniqueConstraint(fields=["team", "name"], name="data_set_name_of_a_team")
        ]

    def __str__(self) -> str:
        return self.name


class DataSetVersion(models.Model):
    """One file as it was checked, split and written; `address` is the digest of what made it."""

    class State(models.TextChoices):
        WAITING = "waiting"
        VALIDATING = "validating"
        READY = "ready"
        REFUSED = "refused"  # the data is not good; `reason` says why
        FAILED = "failed"  # the hub could not check it
        WITHDRAWN = "withdrawn"  # was ready; nothing new is trained on it

    OPEN = frozenset({State.WAITING, State.VALIDATING})

    id = models.CharField(max_length=64, primary_key=True, default=new_version_id)
    data_set = models.ForeignKey(DataSet, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=12, choices=State.choices, default=State.WAITING)
    reason = models.TextField(blank=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    address = models.CharField(max_length=64)

    file_id = models.CharField(max_length=64)  # lineage: the file may be gone
    validation_file_id = models.CharField(max_length=64, blank=True)
    filename = models.CharField(max_length=255)
    source_bytes = models.BigIntegerField(default=0)
    held_out = models.FloatField(default=0.0)
    leaves_out = models.BooleanField(default=False)  # rows with errors, in place of refusing all
    base = models.CharField(max_length=128, blank=True)  # model whose template was asked
    max_length = models.PositiveIntegerField(default=2_048)

    format = models.CharField(max_length=12, blank=True)
    shape = models.CharField(max_length=24, blank=True)
    rows = models.PositiveIntegerField(default=0)
    train_rows = models.PositiveIntegerField(default=0)
    validation_rows = models.PositiveIntegerField(default=0)
    characters = models.BigIntegerField(default=0)
    tokens = models.BigIntegerField(null=True)  # of the base's vocabulary
    errors = models.PositiveIntegerField(default=0)
    warnings = models.PositiveIntegerField(default=0)
    size_bytes = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)  # of the rows to learn, as written
    created_at = models.DateTimeField(auto_now_add=True)
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-number",)
        constraints = [
            models.UniqueConstraint(fields=["data_set", "number"], name="data_set_version_number"),
            models.UniqueConstraint(fields=["data_set", "address"], name="data_set_version_once"),
        ]

    def __str__(self) -> str:
        return f"{self.data_set} v{self.number}"

    @property
    def is_over(self) -> bool:
        """Tell whether its check has ended."""
        return self.state not in self.OPEN

    def train_path(self) -> Path:
        """JSONL in the form of `training.contract.Data`."""
        return shelf.train_path(self.pk)

    def validation_path(self) -> Path | None:
        """Give the held-out rows, or None where none are held out."""
        return shelf.validation_path(self.pk) if self.validation_rows else None

    def findings_text(self) -> str:
        """Say the first error with its line and what mends it, else why the check ended so."""
        report = shelf.report(self.pk)
        return shelf.first_error(report) if report and report.errors else self.reason
