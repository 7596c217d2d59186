"""Rows of teams, of who is in them, and the base of every row that belongs to one."""

from typing import Protocol, Self, TypeVar

from django.conf import settings
from django.db import models
from django.db.models import Q

DEFAULT_TEAM = "default"


class Viewer(Protocol):
    """Who looks: `accounts.principals.Principal` is one."""

    @property
    def teams(self) -> frozenset[int]: ...
    @property
    def sees_all(self) -> bool: ...


class Team(models.Model):
    """People who share models, keys and limits; empty allow-lists restrict nothing."""

    name = models.CharField(max_length=64, unique=True)
    description = models.CharField(max_length=300, blank=True)
    is_default = models.BooleanField(default=False)
    scopes_allowed = models.JSONField(default=list, blank=True)
    models_allowed = models.JSONField(default=list, blank=True)  # names of models and aliases
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(
                fields=["is_default"], condition=Q(is_default=True), name="one_default_team"
            )
        ]

    def __str__(self) -> str:
        return self.name


def default_team_id() -> int:
    """Find the team of whatever names none; a migration made it, an emptied database makes it."""
    # Its key alone is read: migrations call this before later columns are there.
    key = Team.objects.filter(is_default=True).values_list("pk", flat=True).first()
    return key if key is not None else _make_default()


def _make_default() -> int:
    team, _ = Team.objects.get_or_create(is_default=True, defaults={"name": DEFAULT_TEAM})
    return team.pk


class Membership(models.Model):
    """A person or service account in a team; `role` adds what that role holds, in this team only."""

    class Level(models.TextChoices):
        MEMBER = "member"
        MANAGER = "manager"  # of the team's members, service accounts and keys

    team = models.ForeignKey(Team, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships"
    )
    level = models.CharField(max_length=16, choices=Level.choices, default=Level.MEMBER)
    role = models.CharField(max_length=64, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("pk",)
        constraints = [models.UniqueConstraint(fields=["team", "user"], name="member_once")]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.team_id}"

    @property
    def is_manager(self) -> bool:
        return self.level == self.Level.MANAGER


class Visibility(models.TextChoices):
    TEAM = "team"
    HUB = "hub"


Row = TypeVar("Row", bound=models.Model)


class OwnedRows(models.QuerySet[Row]):
    """Reads of rows that belong to teams."""

    def visible_to(self, who: Viewer) -> Self:
        """Rows for everybody on the hub, and those of one's teams; to others they are not there."""
        if who.sees_all:
            return self
        return self.filter(Q(visibility=Visibility.HUB) | Q(team_id__in=who.teams))


class Owned(models.Model):
    """Base of a row with an owner team; its `objects` come from a subclass of `OwnedRows`."""

    team = models.ForeignKey(
        Team, on_delete=models.PROTECT, related_name="+", default=default_team_id
    )
    visibility = models.CharField(max_length=8, choices=Visibility.choices, default=Visibility.TEAM)

    class Meta:
        abstract = True

    @property
    def ownership(self) -> tuple[int, str]:
        """Give team and visibility, as `Principal.sees` takes them."""
        return self.team_id or 0, self.visibility
