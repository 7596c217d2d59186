"""Rows of people and of service accounts."""

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, UserManager
from django.db import models

from accounts import scopes
from accounts.models.roles import scopes_of
from accounts.models.teams import Membership, Team, default_team_id


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
    """A person, or a program's account without a password; `role` decides what they may do.

    Django's own flags follow the role. A new account is a member of a team from the start.
    A service account belongs to one team, and its role holds there, or it is hub-wide: then its role
    holds as a person's does, and administrators keep it.
    """

    class Role(models.TextChoices):
        """The built-in ones; `role` may also name a row of `Role`."""

        VIEWER = "viewer"
        DEVELOPER = "developer"
        TRAINER = "trainer"
        OPERATOR = "operator"
        ADMIN = "admin"

    class Kind(models.TextChoices):
        PERSON = "person"
        SERVICE = "service"  # signs in with keys only

    role = models.CharField(max_length=64, default=Role.DEVELOPER)
    kind = models.CharField(max_length=8, choices=Kind.choices, default=Kind.PERSON)
    is_hub_wide = models.BooleanField(default=False)  # of a service account
    contact = models.CharField(max_length=200, blank=True)  # who answers for a service account
    description = models.CharField(max_length=300, blank=True)  # what a service account is for
    team = models.ForeignKey(  # whose a team's service account is; of the others: the first team
        Team, null=True, blank=True, on_delete=models.SET_NULL, related_name="accounts"
    )
    language = models.CharField(max_length=8, blank=True)
    token_version = models.PositiveIntegerField(default=0)  # one more ends every access token

    objects: ClassVar[People] = People()

    @property
    def is_service(self) -> bool:
        return self.kind == self.Kind.SERVICE

    @property
    def is_bound(self) -> bool:
        """Tell whether its role holds in its own team only."""
        return self.is_service and not self.is_hub_wide

    @property
    def bound_team_id(self) -> int | None:
        """Give the team that keeps this service account; None for people and hub-wide ones."""
        return (self.team_id or default_team_id()) if self.is_bound else None

    @property
    def bound_team(self) -> Team | None:
        return self.team if self.is_bound else None

    @property
    def scopes(self) -> frozenset[str]:
        """What the role holds now, on the hub or, for a bound account, in its team; nothing for a disabled one."""
        return scopes_of(self.role) if self.is_active else frozenset()

    def allows(self, scope: str) -> bool:
        return scopes.held(scope, self.scopes)

    def save(self, *args: Any, **kwargs: Any) -> None:
        is_new = self._state.adding
        self.is_staff = self.is_superuser = self.role == self.Role.ADMIN
        fields = kwargs.get("update_fields")
        if fields is not None and "role" in fields:
            kwargs["update_fields"] = {*fields, "is_staff", "is_superuser"}
        if is_new and self.team_id is None:
            self.team_id = default_team_id()
        super().save(*args, **kwargs)
        if is_new and self.team_id is not None:
            Membership.objects.get_or_create(team_id=self.team_id, user=self)
