"""Rows of people and keys."""

import datetime as dt
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts import scopes


class People(UserManager["User"]):
    """Users; whoever Django makes a superuser is an admin of the hub."""

    def create_superuser(
        self,
        username: str,
        email: str | None = None,
        password: str | None = None,
        **extra_fields: Any,
    ) -> "User":
        extra_fields["role"] = User.Role.ADMIN
        return self.create_user(username, email, password, **extra_fields)


class User(AbstractUser):
    """A person; `role` decides what they may do, Django's own flags follow it."""

    class Role(models.TextChoices):
        VIEWER = "viewer"
        DEVELOPER = "developer"
        TRAINER = "trainer"
        OPERATOR = "operator"
        ADMIN = "admin"

    role = models.CharField(max_length=16, choices=Role.choices, default=Role.DEVELOPER)
    language = models.CharField(max_length=8, blank=True)

    objects: ClassVar[People] = People()

    @property
    def scopes(self) -> frozenset[str]:
        """What the role holds now; nothing for a disabled person."""
        return scopes.of_role(self.role) if self.is_active else frozenset()

    def allows(self, scope: str) -> bool:
        return scope in self.scopes

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.is_staff = self.is_superuser = self.role == self.Role.ADMIN
        fields = kwargs.get("update_fields")
        if fields is not None and "role" in fields:
            kwargs["update_fields"] = {*fields, "is_staff", "is_superuser"}
        super().save(*args, **kwargs)


class ApiKeys(models.QuerySet["ApiKey"]):
    """Reads of keys."""

    def visible_to(self, user: User) -> "ApiKeys":
        """One's own keys; everyone's for those who manage people."""
        return self if user.allows("users:manage") else self.filter(owner=user)

    def working(self) -> "ApiKeys":
        """Keys that are neither revoked nor expired."""
        now = timezone.now()
        alive = Q(expires_at__isnull=True) | Q(expires_at__gt=now)
        return self.filter(alive, revoked_at__isnull=True)


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

    objects = ApiKeys.as_manager()

    class Meta:
        ordering = ("-created_at", "-pk")

    def __str__(self) -> str:
        return f"{self.name} ({self.public_id})"

    @property
    def prefix(self) -> str:
        """What of the key may be shown."""
        return f"hub_{self.public_id}…"

    @property
    def state(self) -> str:
        """One of active, expired, revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.has_expired(timezone.now()) else "active"

    def has_expired(self, now: dt.datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


class SetupLink(models.Model):
    """The digest of the one-time token with which the first admin account is made."""

    digest = models.BinaryField(max_length=32)
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"set-up link of {self.created_at:%Y-%m-%d %H:%M}"
