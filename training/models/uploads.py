"""Rows of files that come in parts: how much is to come, and the parts that are here."""

import secrets

from django.conf import settings
from django.db import models

from accounts.models import Owned, OwnedRows


def new_upload_id() -> str:
    return f"upload_{secrets.token_hex(16)}"


def new_part_id() -> str:
    return f"part_{secrets.token_hex(16)}"


class FileUploads(OwnedRows["FileUpload"]):
    """Reads of uploads."""


class FileUpload(Owned):
    """A file on its way; each part lies in the data folder under its own id until all are joined."""

    class State(models.TextChoices):
        PENDING = "pending"
        COMPLETED = "completed"
        CANCELLED = "cancelled"
        EXPIRED = "expired"

    id = models.CharField(max_length=64, primary_key=True, default=new_upload_id)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="file_uploads"
    )
    filename = models.CharField(max_length=255)
    purpose = models.CharField(max_length=24)
    size_bytes = models.BigIntegerField()  # as it was announced
    lives_s = models.PositiveIntegerField(null=True)  # of the file, once it is there
    state = models.CharField(max_length=12, choices=State.choices, default=State.PENDING)
    file_id = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()

    objects = FileUploads.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")

    def __str__(self) -> str:
        return f"{self.filename} ({self.id})"


class FilePart(models.Model):
    """One part, never changed."""

    id = models.CharField(max_length=64, primary_key=True, default=new_part_id)
    upload = models.ForeignKey(FileUpload, on_delete=models.CASCADE, related_name="parts")
    size_bytes = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return self.pk
