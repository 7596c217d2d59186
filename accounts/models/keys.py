"""Rows of API keys."""

import datetime as dt
from typing import Protocol

from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.models.people import User
from accounts.models.teams import Team, Viewer, default_team_id


class KeyViewer(Viewer, Protocol):
    """Who looks at keys."""

    @property
    def user_id(self) -> int: ...
    @property
    def key_id(self) -> str | None: ...
    @property
    def manages(self) -> frozenset[int]: ...
    def allows(self, scope: str) -> bool: ...


class ApiKeys(models.QuerySet["ApiKey"]):
    """Reads of keys."""

    def visible_to(self, who: KeyViewer) -> "ApiKeys":
        """One's own keys, those of teams that one manages; everyone's for who manages people.

        A key sees those of its own team only.
        """
        if who.allows("admin:users"):
            return self
        found = self.filter(Q(owner_id=who.user_id) | Q(team_id__in=who.manages))
        bound = who.key_id is not None and not who.sees_all
        return found.filter(team_id__in=who.teams) if bound else found

    def working(self) -> "ApiKeys":
        """Keys that are neither revoked nor expired."""
        now = timezone.now()
        alive = Q(expires_at__isnull=True) | Q(expires_at__gt=now)
        return self.filter(alive, revoked_at__isnull=True)


class ApiKey(models.Model):
    """A key of SECURITY's form: `hub_` + public id + secret + checksum; only a digest is stored."""

    public_id = models.CharField(max_length=16, unique=True)
    digest = models.BinaryField(max_length=32)
    pepper = models.CharField(
        max_length=8, blank=True, default=""
    )  # version; "": from before these
    name = models.CharField(max_length=100)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_keys")
    team = models.ForeignKey(
        Team, on_delete=models.PROTECT, related_name="api_keys", default=default_team_id
    )
    scopes = models.JSONField(default=list)
    models_allowed = models.JSONField(default=list, blank=True)
    networks_allowed = models.JSONField(default=list, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_used_from = models.GenericIPAddressField(null=True, blank=True)
    follows = models.ForeignKey(  # the key that this one was rotated from
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="followers"
    )

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


class KeyAddress(models.Model):
    """An address, or an IPv6 network of one subscriber, from which a key was used."""

    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, related_name="addresses")
    address = models.CharField(max_length=64)
    seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key", "address"], name="key_address_once")]

    def __str__(self) -> str:
        return f"{self.key_id} {self.address}"
