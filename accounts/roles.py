"""Roles that a hub makes for itself, for everybody or in one team. API and access page call these."""

from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError, models, transaction
from django.db.models import Q

from accounts import audit, epoch, grants, scopes
from accounts.denials import InTheWay, NotAllowed, Refusal
from accounts.models import Membership, Role, Team, User
from accounts.principals import Principal

SCOPE = "admin:roles"


def listing(who: Principal) -> "models.QuerySet[Role]":
    """Give the roles of the hub, and those of teams that one sees."""
    rows = Role.objects.select_related("team")
    return rows if who.sees_all else rows.filter(Q(team=None) | Q(team_id__in=who.teams))


def create(
    name: str, wanted: Iterable[str], by: Principal, description: str = "", team: Team | None = None
) -> Role:
    """Make a role out of scopes that one holds. Raises: NotAllowed, InTheWay, Refusal."""
    _check_may(by, team)
    if grants.named(name, "role") in scopes.ROLES:
        raise InTheWay(f"{name} is a built-in role.", "name")
    role = Role(name=name, description=grants.described(description), team=team)
    role.scopes = _held(by, wanted, team)
    try:
        with transaction.atomic():
            role.save(force_insert=True)
            audit.record("role.create", "role", name, pk=role.pk, after=_values(role))
    except IntegrityError:
        raise InTheWay(f"There is already a role named {name}.", "name") from None
    return role


def change(
    role: Role,
    by: Principal,
    wanted: Iterable[str] | None = None,
    description: str | None = None,
) -> Role:
    """Set what it holds, for everybody who has it, within 2 s. Raises: NotAllowed, Refusal."""
    _check_may(by, role.team)
    _held(by, role.scopes, role.team)
    with transaction.atomic():
        before = _values(role)
        if wanted is not None:
            role.scopes = _held(by, wanted, role.team)
        if description is not None:
            role.description = grants.described(description)
        role.save()
        epoch.bump()
        audit.record("role.change", "role", role.name, before=before, after=_values(role))
    return role


def remove(role: Role, by: Principal) -> None:
    """Raises: NotAllowed; InTheWay while somebody has it."""
    _check_may(by, role.team)
    _held(by, role.scopes, role.team)
    with transaction.atomic():
        users = User.objects.filter(role=role.name).count()
        users += Membership.objects.filter(role=role.name).count()
        if users:
            raise InTheWay(f"{users} accounts or members have this role: give them another one.")
        before, name = _values(role), role.name
        role.delete()
        epoch.bump()
        audit.record("role.remove", "role", name, before=before)


def _check_may(by: Principal, team: Team | None) -> None:
    """Raises: NotAllowed."""
    if team is not None and not by.allows(SCOPE):
        grants.check_manages(by, team)
    elif team is None:
        grants.check_scope(by, SCOPE)


def _held(by: Principal, wanted: Iterable[str], team: Team | None) -> list[str]:
    """Raises: NotAllowed, Refusal."""
    names = grants.known(wanted)
    if not names:
        raise Refusal("A role needs at least one scope.", "scopes")
    grants.check_held(by, names, "scopes", team)
    if team is not None and scopes.expand(names) & scopes.ADMIN:
        raise NotAllowed("What administers the hub is no matter of a team.", "scopes")
    return names


def _values(role: Role) -> dict[str, Any]:
    return {"scopes": role.scopes, "description": role.description, "team": role.team_id}
