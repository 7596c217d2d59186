"""Teams and who is in them. The API, the access page and the command line call these."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.apps import apps
from django.db import IntegrityError, models, transaction
from django.dispatch import Signal
from django.utils import timezone

from accounts import audit, epoch, grants, scopes
from accounts.denials import InTheWay, NotAllowed, Refusal
from accounts.models import Membership, Owned, Team, User, default_team_id, scopes_of
from accounts.principals import Principal

SCOPE = "admin:teams"
MAX_NAMES = 1000
moved = Signal()  # rows went from one team to another: caches of them are stale
Level = Membership.Level


def listing(who: Principal) -> "models.QuerySet[Team]":
    """Give one's own teams; all of them to who manages teams."""
    return Team.objects.all() if who.sees_all else Team.objects.filter(pk__in=who.teams)


def create(name: str, by: Principal | None = None, **fields: Any) -> Team:
    """Make a team without members. Raises: NotAllowed, Refusal."""
    if by is not None:
        grants.check_scope(by, SCOPE)
    team = Team(name=grants.named(name, "team"), **_fields(fields))
    try:
        with transaction.atomic():
            team.save(force_insert=True)
            audit.record("team.create", "team", team.name, pk=team.pk, after=_values(team))
    except IntegrityError:
        raise InTheWay(f"There is already a team named {name}.", "name") from None
    return team


def change(team: Team, by: Principal, **fields: Any) -> Team:
    """Set name, description and policy; the policy holds everywhere within 2 s.

    Raises: NotAllowed, Refusal.
    """
    grants.check_scope(by, SCOPE)
    if "name" in fields:
        grants.named(fields["name"], "team")
    try:
        with transaction.atomic():
            before = _values(team)
            for field, value in _fields(fields).items():
                setattr(team, field, value)
            team.save()
            epoch.bump()
            audit.record(
                "team.change", "team", team.name, pk=team.pk, before=before, after=_values(team)
            )
    except IntegrityError:
        raise InTheWay(f"There is already a team named {fields['name']}.", "name") from None
    return team


def remove(team: Team, by: Principal, to: Team | None = None) -> dict[str, int]:
    """Delete a team: its keys and service accounts end, what it owns goes to another team.

    Gives what became of it, by kind. Raises: NotAllowed, InTheWay.
    """
    grants.check_scope(by, SCOPE)
    if team.is_default:
        raise InTheWay("The default team stays: accounts without another one are in it.", "name")
    with transaction.atomic():
        done = _move(team, to)
        ended = team.api_keys.update(team=default_team_id(), revoked_at=timezone.now())
        done |= {"keys": ended, "service_accounts": _end_accounts(team)}
        name, key = team.name, team.pk
        team.delete()
        epoch.bump()
        moved.send(Team)
        audit.record("team.remove", "team", name, pk=key, before=_values(team), after=done)
    return done


def _move(team: Team, to: Team | None) -> dict[str, int]:
    """Raises: InTheWay, while it owns something that nobody is to have."""
    owned: dict[str, models.QuerySet[Any]] = {
        kind.__name__.lower(): kind.objects.filter(team=team)  # type: ignore[attr-defined]
        for kind in apps.get_models()
        if issubclass(kind, Owned)
    }
    counts = {kind: rows.count() for kind, rows in owned.items()}
    if to is None and any(counts.values()):
        kept = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        raise InTheWay(f"{team.name} owns {kept}: say which team is to have them.", "to")
    for kind, rows in owned.items():
        _hand_over(rows, to or team, kind)
    return counts


def _hand_over(rows: models.QuerySet[Any], team: Team, kind: str) -> None:
    """Raises: InTheWay, where a name may be there once in a team."""
    try:
        rows.update(team=team)
    except IntegrityError as error:
        problem = f"{team.name} has a {kind} of the same name: remove one of the two first."
        raise InTheWay(problem, "to") from error


def _end_accounts(team: Team) -> int:
    accounts = User.objects.filter(team=team, kind=User.Kind.SERVICE, is_hub_wide=False)
    count = accounts.count()
    accounts.delete()
    return count


# --- members --------------------------------------------------------------------------------------


def add(
    team: Team, user: User, by: Principal | None, level: str = "", role: str = ""
) -> Membership:
    """Make somebody a member. Raises: NotAllowed, InTheWay, Refusal."""
    if user.is_bound:
        raise NotAllowed("A service account belongs to the team that owns it.", "user")
    if by is not None:
        grants.check_manages(by, team)
    _check_role(team, role, by)
    try:
        with transaction.atomic():
            one = Membership.objects.create(
                team=team, user=user, level=level or Level.MEMBER, role=role
            )
            _record("add_member", one, after=_of_member(one))
    except IntegrityError:
        raise InTheWay(f"{user.username} is a member of {team.name} already.", "user") from None
    return one


def change_member(
    one: Membership, by: Principal, level: str | None = None, role: str | None = None
) -> Membership:
    """Make a manager of a member, or back; give another role in this team. Raises: NotAllowed, Refusal."""
    grants.check_manages(by, one.team)
    _check_role(one.team, one.role, by)
    if role is not None:
        _check_role(one.team, role, by)
    with transaction.atomic():
        before = _of_member(one)
        one.level = level or one.level
        one.role = one.role if role is None else role
        one.save()
        _record("change_member", one, before=before, after=_of_member(one))
    return one


def remove_member(one: Membership, by: Principal) -> None:
    """Their keys of this team are refused within 2 s. Raises: NotAllowed."""
    if one.user_id != by.user_id:
        grants.check_manages(by, one.team)
    elif not by.allows("teams:write"):
        raise NotAllowed("Leaving a team needs the scope teams:write.")
    if one.user.is_bound:
        raise NotAllowed("A service account leaves its team by being removed.", "user")
    with transaction.atomic():
        before, key = _of_member(one), one.pk
        one.delete()
        epoch.bump()
        _record("remove_member", one, before=before | {"membership": key})


def _check_role(team: Team, role: str, by: Principal | None) -> None:
    """What administers the hub is no matter of a team. Raises: NotAllowed, Refusal."""
    if not role:
        return
    grants.role_named(role, team)
    if by is not None:
        grants.check_held(by, scopes_of(role) - scopes.ADMIN, "role", team)


def _record(verb: str, one: Membership, **more: Mapping[str, Any]) -> None:
    audit.record(f"team.{verb}", "team", one.team.name, pk=one.team_id, **more)  # type: ignore[arg-type]


def _of_member(one: Membership) -> dict[str, str]:
    return {"user": one.user.username, "level": one.level, "role": one.role}


def _values(team: Team) -> dict[str, Any]:
    fields = ("name", "description", "scopes_allowed", "models_allowed")
    return {field: getattr(team, field) for field in fields}


def _fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Check what may be set of a team. Raises: Refusal."""
    found = {name: given[name] for name in ("name",) if name in given}
    if "description" in given:
        found["description"] = grants.described(given["description"])
    if "scopes" in given:
        found["scopes_allowed"] = grants.known(given["scopes"])
    if "models" in given:
        found["models_allowed"] = _names(given["models"])
    return found


def _names(names: Iterable[str]) -> list[str]:
    chosen = sorted(set(names))
    if len(chosen) > MAX_NAMES or not all(n and len(n) <= 128 and n.isprintable() for n in chosen):
        raise Refusal(f"A team names at most {MAX_NAMES} models, of 1 to 128 characters.", "models")
    return chosen
