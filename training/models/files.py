"""Rows of files: what people upload for training and batches, and what comes of them."""

import secrets

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models import Owned, OwnedRows


def new_id() -> str:
    return f"file-{secrets.token_hex(16)}"


class Files(OwnedRows["File"]):
    """Reads of files."""

    def there(self) -> "Files":
        """Those that have not run out."""
        alive = Q(expires_at__isnull=True) | Q(expires_at__gt=timezone.now())
        return self.filter(alive)

    def over(self) -> "Files":
        """Those that have, and may go."""
        return self.filter(expires_at__lte=timezone.now())


class File(Owned):
    """One file, never changed; its bytes lie in the data folder under its id."""

    id = models.CharField(max_length=64, primary_key=True, default=new_id)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="files"
    )
    filename = models.CharField(max_length=255)
    purpose = models.CharField(max_length=24)  # of inference.openai.files.PURPOSES
    size_bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    objects = Files.as_manager()

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = [models.Index(fields=["-created_at", "-id"])]

    def __str__(self) -> str:
        return f"{self.filename} ({self.id})"
