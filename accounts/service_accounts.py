"""Accounts of programs: no password, keys only, owned by a team. API, pages and commands call these."""

from accounts import grants, people
from accounts.models import Team, User
from accounts.models.people import People
from accounts.principals import Principal


def create(name: str, team: Team, role: str, by: Principal | None = None) -> User:
    """Make an account that is a member of its team; without `by`, the operator does.

    Raises: NotAllowed, PersonRefused, Refusal.
    """
    held = grants.role_named(role, team)
    if by is not None:
        if not by.allows(people.SCOPE):
            grants.check_manages(by, team)
        grants.check_held(by, held, "role", team)
    user = User(username=people.named(name), role=role, kind=User.Kind.SERVICE, team=team)
    user.set_unusable_password()
    return people.insert(user, "service_account.create")


def listing(who: Principal) -> "People":
    """Give the accounts of teams that somebody manages, or all of them."""
    rows = User.objects.filter(kind=User.Kind.SERVICE).select_related("team")
    return rows if who.allows(people.SCOPE) else rows.filter(team_id__in=who.manages)  # type: ignore[return-value]
