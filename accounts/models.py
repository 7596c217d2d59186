"""Rows of people and keys."""

from django.contrib.auth.models import AbstractUser
from django.db import models


class User(AbstractUser):
    """A person; `role` decides what they may do."""

    class Role(models.TextChoices):
        VIEWER = "viewer"
        DEVELOPER = "developer"
        TRAINER = "trainer"
        OPERATOR = "operator"
        ADMIN = "admin"

    role = models.CharField(max_length=16, choices=Role.choices, default=Role.DEVELOPER)
    language = models.CharField(max_length=8, blank=True)


class ApiKey(models.Model):
    """A key of SECURITY's form: `hub_` + public id + secret + checksum; only a digest is stored."""

    public_id = models.CharField(max_length=16, unique=True)
    digest = models.BinaryField(max_length=32)
    name = models.CharField(max_length=100)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    scopes = models.JSONField(default=list)
    models_allowed = models.JSONField(default=list, blank=True)
    networks_allowed = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name} ({self.public_id})"
