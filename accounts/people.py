"""People: make an account, change it, remove it. The command line, set-up, API and pages call these."""

from collections.abc import Mapping
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts import audit, epoch, grants
from accounts.denials import InTheWay, NotAllowed, Refusal
from accounts.models import Application, Team, User
from accounts.principals import Principal

SCOPE = "admin:users"


class PersonRefused(Refusal):
    """An account cannot be made; `messages` are safe to show, `field` is the argument at fault."""

    def __init__(self, field: str, messages: list[str]) -> None:
        super().__init__(" ".join(messages), field)
        self.messages = messages


def create(
    username: str,
    password: str,
    role: str = User.Role.DEVELOPER,
    *,
    by: Principal | None = None,
    team: Team | None = None,
) -> User:
    """Make an account with a checked name and password; without `by`, the operator does.

    A team's managers say who comes in, also here. Raises: PersonRefused, NotAllowed.
    """
    held = grants.role_named(role)
    if by is not None:
        grants.check_scope(by, SCOPE)
        grants.check_held(by, held, "role")
        if team is not None and not team.is_default:
            grants.check_manages(by, team)
    user = User(username=named(username), role=role, team=team)
    _check("password", validate_password, password, user)
    user.set_password(password)
    return insert(user, "user.create")


def insert(user: User, action: str) -> User:
    """Raises: PersonRefused, where the name is taken."""
    try:
        with transaction.atomic():
            user.save(force_insert=True)
            audit.record(action, _kind(user), user.username, pk=user.pk, after=values(user))
    except IntegrityError:
        raise PersonRefused(
            "username", [f"There is already a user named {user.username}."]
        ) from None
    return user


def named(username: str) -> str:
    """Give the name as it is kept. Raises: PersonRefused."""
    user = User(username=User.normalize_username(username.strip()))
    _check("username", user.clean_fields, exclude=["password"])
    return user.username


def change(
    user: User,
    by: Principal | None,
    *,
    role: str | None = None,
    is_active: bool | None = None,
    password: str | None = None,
    about: Mapping[str, str] | None = None,
) -> User:
    """Give another role, disable or enable, set a password: everywhere within 2 s.

    `about` says who answers for a service account and what it is for. Without `by`, the operator does.
    Raises: NotAllowed, InTheWay, PersonRefused.
    """
    _check_over(by, user)
    with transaction.atomic():
        user = _locked(user)
        before = values(user)
        if role is not None:
            _set_role(user, role, by)
        user.is_active = user.is_active if is_active is None else is_active
        if password is not None:
            _set_password(user, password)
        for field, text in (about or {}).items():
            setattr(user, field, text)
        keep_an_admin(user)
        user.save()
        epoch.bump()
        more = {} if password is None else {"password_changed": True}
        _record("change", user, before=before, after=values(user) | more)
    return user


def remove(user: User, by: Principal | None) -> dict[str, int]:
    """Delete an account: its keys end with it, what it made belongs to teams and stays.

    Gives what went with it. Without `by`, the operator does. Raises: NotAllowed, InTheWay.
    """
    _check_over(by, user)
    with transaction.atomic():
        user = _locked(user)
        before, key = values(user), user.pk
        gone = {"keys": user.api_keys.count(), "memberships": user.memberships.count()}
        user.is_active = False
        keep_an_admin(user)
        # What acts as a service account stays when whoever registered it leaves.
        Application.objects.filter(user=user).exclude(service=None).update(user=None)
        user.delete()
        epoch.bump()
        _record("remove", user, pk=key, before=before, after=gone)
    return gone


def values(user: User) -> dict[str, Any]:
    """Give what the audit log keeps of an account."""
    found = {"role": user.role, "is_active": user.is_active, "team": user.team_id}
    if user.is_service:
        fields = ("is_hub_wide", "contact", "description")
        found |= {field: getattr(user, field) for field in fields}
    return found


def _kind(user: User) -> str:
    return "service_account" if user.is_service else "user"


def _record(verb: str, user: User, pk: int | None = None, **values: Mapping[str, Any]) -> None:
    kind = _kind(user)
    audit.record(f"{kind}.{verb}", kind, user.username, pk=pk or user.pk, **values)  # type: ignore[arg-type]


def _check_over(by: Principal | None, user: User) -> None:
    """A team's managers keep its service accounts; the rest is for who manages people."""
    if by is None:
        return
    if user.bound_team_id in by.manages:
        held = grants.role_named(user.role, user.team)
        grants.check_held(by, held, "role", user.team)
        return
    grants.check_scope(by, SCOPE)
    grants.check_over(by, user)


def lock_admins() -> None:
    """Of two who take each other's role, one stays."""
    [*User.objects.select_for_update().filter(role=User.Role.ADMIN).values_list("pk")]


def _locked(user: User) -> User:
    lock_admins()
    return User.objects.select_for_update(of=("self",)).select_related("team").get(pk=user.pk)


def keep_an_admin(user: User) -> None:
    """Ask, under the lock, before this account is saved as it is now. Raises: InTheWay."""
    admins = User.objects.filter(
        role=User.Role.ADMIN, is_active=True, kind=User.Kind.PERSON
    ).exclude(pk=user.pk)
    was = User.objects.filter(pk=user.pk, role=User.Role.ADMIN, is_active=True).exists()
    stays = user.role == User.Role.ADMIN and user.is_active
    if was and not stays and not admins.exists():
        raise InTheWay("This is the last administrator: make another one first.", "role")


def _set_role(user: User, role: str, by: Principal | None) -> None:
    """A bound account's role holds in its team. Raises: NotAllowed, Refusal."""
    there = user.bound_team
    held = grants.role_named(role, there)
    if by is not None:
        grants.check_held(by, held, "role", there)
    user.role = role


def _set_password(user: User, password: str) -> None:
    if user.is_service:
        raise NotAllowed("A service account signs in with keys only.", "password")
    _check("password", validate_password, password, user)
    user.set_password(password)


def _check(field: str, rule: object, *args: object, **kwargs: object) -> None:
    try:
        rule(*args, **kwargs)  # type: ignore[operator]
    except ValidationError as error:
        raise PersonRefused(field, list(error.messages)) from None
