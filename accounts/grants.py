"""Nobody grants what they do not hold: asked by the verbs on people, teams, roles and accounts."""

from collections.abc import Iterable

from accounts import scopes
from accounts.denials import NotAllowed, Refusal
from accounts.models import Role, Team, User, scopes_of
from accounts.principals import Principal

DESCRIPTION_CHARS = 300


def check_scope(by: Principal, scope: str) -> None:
    """Raises: NotAllowed."""
    if not by.allows(scope):
        raise NotAllowed(f"This needs the scope {scope}.")


def check_manages(by: Principal, team: Team) -> None:
    """Ask for an administrator of teams, or a manager of this one. Raises: NotAllowed."""
    if not (by.sees_all or (team.pk in by.manages and by.allows("teams:write"))):
        raise NotAllowed("This is for the managers of the team, with the scope teams:write.")


def check_held(by: Principal, wanted: Iterable[str], field: str, team: Team | None = None) -> None:
    """Ask for scopes in a team, or on the whole hub. Raises: NotAllowed, with the first one missing."""
    for scope in sorted(wanted):
        if not (by.allows_on_hub(scope) if team is None else by.allows_in(scope, team.pk)):
            raise NotAllowed(f"You do not hold {scope}, so you cannot give it or take it.", field)


def holds_where(by: Principal, scope: str, user: User) -> bool:
    """Tell whether `by` holds a scope in the place where this account's role holds."""
    team = user.bound_team_id
    return by.allows_on_hub(scope) if team is None else by.allows_in(scope, team)


def check_over(by: Principal, user: User) -> None:
    """Whoever holds more than `by`, in any place, is not theirs to change. Raises: NotAllowed."""
    _check_taken(by, scopes_of(user.role), user.bound_team)
    for one in user.memberships.select_related("team"):
        _check_taken(by, scopes_of(one.role) - scopes.ADMIN, one.team)
        if one.is_manager and not (by.sees_all or one.team_id in by.manages):
            raise NotAllowed(f"{user.username} manages {one.team.name}, and you do not.", "role")


def _check_taken(by: Principal, held: Iterable[str], team: Team | None) -> None:
    """What `by` holds on the hub is held enough, whatever the team's policy. Raises: NotAllowed."""
    check_held(by, (name for name in held if not by.allows_on_hub(name)), "role", team)


def role_named(name: str, team: Team | None = None) -> frozenset[str]:
    """Give the scopes of a role that may be given on the hub, or in this team. Raises: Refusal."""
    if name in scopes.ROLES:
        return scopes.ROLES[name]
    row = Role.objects.filter(name=name).first()
    if row is None or row.team_id not in {None, team.pk if team else None}:
        raise Refusal(f"There is no role named {name[:64]}.", "role")
    return scopes.expand(row.scopes)


def known(names: Iterable[str], field: str = "scopes") -> list[str]:
    """Give the scopes in order. Raises: Refusal, with one that is none."""
    if bad := scopes.unknown(names):
        raise Refusal(f"Unknown scope {bad[0][:64]!r}.", field)
    return sorted(set(names))


def described(text: str) -> str:
    """Raises: Refusal."""
    if len(text) > DESCRIPTION_CHARS or not text.isprintable():
        raise Refusal(
            f"A description has at most {DESCRIPTION_CHARS} printable characters.", "description"
        )
    return text.strip()


def named(name: str, what: str) -> str:
    """Raises: Refusal."""
    allowed = all(c.isascii() and (c.isalnum() or c in "-_.") for c in name)
    if not 1 <= len(name) <= 64 or not allowed or not name[0].isalnum():
        raise Refusal(f"The name of a {what} has 1 to 64 letters, digits and - _ .", "name")
    return name
