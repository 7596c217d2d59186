"""OpenID and OAuth2 providers that people sign in with: kept and removed. The page Signing in and the API call these.

Whoever says which groups become which role could make themselves anything: nobody maps to what they do
not hold, nor changes or removes a provider that does.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django.db import transaction
from django.utils.text import slugify

from accounts import audit, grants, oidc, plain_oauth2, scopes, sign_on
from accounts.denials import NotAllowed, Refusal
from accounts.journeys import Endpoints
from accounts.models import Provider, Team
from accounts.principals import Principal

SCOPES = ("admin:system", "admin:users")
LONGEST = {"name": 60, "issuer": 500, "client_id": 300, "group_claim": 100}


class ProviderRefused(Refusal):
    """A provider cannot be kept so; `field` is at fault."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a provider is to be; an empty secret keeps the one that is there.

    `oauth2` (journeys.Endpoints) stands in place of the issuer, where it speaks no OpenID Connect.
    """

    name: str
    client_id: str
    issuer: str = ""
    client_secret: str = ""
    oauth2: Mapping[str, Any] = field(default_factory=dict)
    group_claim: str = "groups"
    roles: Mapping[str, str] = field(default_factory=dict)  # group -> role
    teams: Mapping[str, str] = field(default_factory=dict)
    default_role: str = ""
    makes_accounts: bool = True
    vouches_factor: bool = False
    enabled: bool = True


def keep(row: Provider, wanted: Wanted, by: Principal) -> Provider:
    """Make or change one, after a look at what it says of itself.

    Raises: NotAllowed, ProviderRefused, SignOnFailed.
    """
    check_may(row, by)
    _check(wanted)
    _check_given(wanted.roles, wanted.teams, wanted.default_role, by)
    before = shown(row) if row.pk else None
    _fill(row, wanted)
    if not row.oauth2:
        oidc.forget()
        oidc.discover(row.issuer)
    with transaction.atomic():
        row.save()
        action = "provider.change" if before else "provider.add"
        audit.record(action, "provider", row.name, pk=row.pk, before=before, after=shown(row))
    return row


def remove(row: Provider, by: Principal) -> None:
    """Forget it; the accounts stay, and nobody enters by it any more. Raises: NotAllowed."""
    check_may(row, by)
    with transaction.atomic():
        audit.record("provider.remove", "provider", row.name, pk=row.pk, before=shown(row))
        row.delete()


def check_may(row: Provider, by: Principal) -> None:
    """Ask for the scopes, and for all that a provider gives already. Raises: NotAllowed."""
    for scope in SCOPES:
        grants.check_scope(by, scope)
    _check_given(row.roles, row.teams, row.default_role, by)


def shown(row: Provider) -> dict[str, Any]:
    fields = (
        "issuer",
        "oauth2",
        "client_id",
        "roles",
        "teams",
        "default_role",
        "vouches_factor",
        "enabled",
    )
    return {name: getattr(row, name) for name in fields}


def _check_given(
    roles: Mapping[str, str], teams: Mapping[str, str], default_role: str, by: Principal
) -> None:
    """Raises: NotAllowed."""
    for role in sorted({*roles.values(), default_role} - {""}):
        grants.check_held(by, scopes.ROLES.get(role, frozenset()), "roles")
    known = Team.objects.filter(name__in=teams.values())
    if not by.sees_all and known.exclude(pk__in=by.manages).exists():
        raise NotAllowed("You do not manage every team that it leads into.", "teams")


def _check(wanted: Wanted) -> None:
    """Raises: ProviderRefused."""
    if wanted.oauth2 and wanted.issuer.strip():
        raise ProviderRefused("A provider has an issuer, or addresses of OAuth2.", "issuer")
    for name, longest in LONGEST.items():
        if name == "issuer" and wanted.oauth2:
            continue
        text = getattr(wanted, name).strip()
        if (not text and name != "group_claim") or len(text) > longest:
            raise ProviderRefused(f"{name} has 1 to {longest} characters.", name)
    for role in {*wanted.roles.values(), wanted.default_role} - {""}:
        if role not in scopes.ROLES:
            at = "default_role" if role == wanted.default_role else "roles"
            raise ProviderRefused(f"There is no built-in role named {role[:64]}.", at)


def _fill(row: Provider, wanted: Wanted) -> None:
    for name in LONGEST:
        setattr(row, name, getattr(wanted, name).strip())
    for name in ("default_role", "makes_accounts", "vouches_factor", "enabled"):
        setattr(row, name, getattr(wanted, name))
    row.oauth2 = msgspec.to_builtins(plain_oauth2.read(wanted.oauth2)) if wanted.oauth2 else {}
    if row.oauth2:
        row.issuer = plain_oauth2.issuer_of(Endpoints(**row.oauth2))
    row.roles, row.teams = dict(wanted.roles), dict(wanted.teams)
    row.client_secret = wanted.client_secret.strip() or row.client_secret
    row.slug = row.slug or _free_slug(row.name)


def _free_slug(name: str) -> str:
    base = slugify(name)[:30] or "provider"
    taken = set(Provider.objects.values_list("slug", flat=True))
    taken |= {one.slug for one in sign_on.configured()}
    numbered = (f"{base}-{number}" for number in range(2, 1000))
    return base if base not in taken else next(one for one in numbered if one not in taken)
