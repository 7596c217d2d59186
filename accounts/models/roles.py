"""Rows of roles that a hub made for itself; the built-in five are `accounts.scopes.ROLES`."""

from django.db import models

from accounts import scopes
from accounts.models.teams import Team


class Role(models.Model):
    """A name for a set of scopes; a team's own role can be given in that team only."""

    name = models.CharField(max_length=64, unique=True)
    description = models.CharField(max_length=300, blank=True)
    scopes = models.JSONField(default=list)
    team = models.ForeignKey(
        Team, null=True, blank=True, on_delete=models.CASCADE, related_name="roles"
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


def scopes_of(role: str) -> frozenset[str]:
    """Return the scopes of a role; no query for a built-in one, none held by an unknown one."""
    if not role or role in scopes.ROLES:
        return scopes.ROLES.get(role, frozenset())
    row = Role.objects.filter(name=role).first()
    return scopes.expand(row.scopes) if row is not None else frozenset()
