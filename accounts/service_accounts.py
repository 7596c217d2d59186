"""Accounts of programs: no password, keys only; of one team, or hub-wide. API, pages and commands call these."""

from django.db.models import Max, Q, QuerySet

from accounts import grants, people
from accounts.denials import Refusal
from accounts.models import ApiKey, Team, User
from accounts.principals import Principal

CONTACT_CHARS = 200


def create(
    name: str,
    team: Team | None,
    role: str,
    by: Principal | None = None,
    *,
    contact: str = "",
    description: str = "",
) -> User:
    """Make an account whose role holds in its team or, without one, on the whole hub.

    Without `by`, the operator does. Raises: NotAllowed, PersonRefused, Refusal.
    """
    held = grants.role_named(role, team)
    if by is not None:
        _check_keeper(by, team)
        grants.check_held(by, held, "role", team)
    user = User(username=people.named(name), role=role, kind=User.Kind.SERVICE, team=team)
    user.is_hub_wide = team is None
    user.contact = contacted(contact) or (by.username if by else "")
    user.description = grants.described(description)
    user.set_unusable_password()
    return people.insert(user, "service_account.create")


def change(
    account: User,
    by: Principal | None = None,
    *,
    role: str | None = None,
    is_active: bool | None = None,
    contact: str | None = None,
    description: str | None = None,
) -> User:
    """Give another role, disable or enable, say who answers for it: everywhere within 2 s.

    Raises: NotAllowed, Refusal.
    """
    about = {}
    if contact is not None:
        about["contact"] = contacted(contact)
    if description is not None:
        about["description"] = grants.described(description)
    return people.change(account, by, role=role, is_active=is_active, about=about)


def listing(who: Principal) -> QuerySet[User]:
    """Give the accounts of teams that somebody manages, or all of them."""
    rows = User.objects.filter(kind=User.Kind.SERVICE).select_related("team")
    return rows if who.allows(people.SCOPE) else rows.filter(_bound_to(who.manages))


def with_use(rows: QuerySet[User]) -> QuerySet[User]:
    """Add `last_used_at`: the last use of any of its keys."""
    return rows.annotate(last_used_at=Max("api_keys__last_used_at"))


def working_keys(account: User) -> QuerySet[ApiKey]:
    """Give the keys that end with the account."""
    return account.api_keys.working().select_related("team", "owner")


def contacted(text: str) -> str:
    """Raises: Refusal."""
    text = text.strip()
    if len(text) > CONTACT_CHARS or not text.isprintable():
        raise Refusal(f"A contact has at most {CONTACT_CHARS} printable characters.", "contact")
    return text


def _check_keeper(by: Principal, team: Team | None) -> None:
    """A team's accounts are kept by its managers, hub-wide ones by administrators. Raises: NotAllowed."""
    if team is None or by.allows(people.SCOPE):
        grants.check_scope(by, people.SCOPE)
    else:
        grants.check_manages(by, team)


def _bound_to(teams: frozenset[int]) -> Q:
    return Q(team_id__in=teams, is_hub_wide=False)
