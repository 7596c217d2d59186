"""Single sign-on: which providers there are, and whose account an identity opens.

An account belongs to an issuer and a subject, never to an e-mail address or a name. Roles and teams
follow the provider's groups at each sign-in, downward too.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import audit, oidc, people, plain_oauth2
from accounts.denials import InTheWay
from accounts.journeys import ClientOf, Endpoints, Journey, SignOnFailed
from accounts.models import Identity, Membership, Provider, Team, User

ORDER = ("viewer", "developer", "trainer", "operator", "admin")  # the highest that a group names
MOST_GROUPS = 500


def providers() -> list[Provider]:
    """Give the providers that may be used: of the configuration file, then of the database."""
    fixed = configured()
    names = {one.slug for one in fixed}
    rows = Provider.objects.filter(enabled=True).exclude(slug__in=names)
    return [*fixed, *rows]


def find(slug: str) -> Provider | None:
    return next((one for one in providers() if one.slug == slug), None)


def configured() -> list[Provider]:
    """Give those of config/hub.json; their secret is read from its file when it is needed."""
    return [_configured(one) for one in settings.HUB_CONFIG.single_sign_on]


def _configured(one: Any) -> Provider:
    row = Provider(
        slug=one.name,
        name=one.title or one.name,
        issuer=one.issuer or "",
        client_id=one.client_id,
        group_claim=one.group_claim,
        roles=dict(one.roles),
        teams=dict(one.teams),
        default_role=one.default_role,
        makes_accounts=one.makes_accounts,
        vouches_factor=one.vouches_factor,
    )
    if one.oauth2 is not None:
        row.oauth2 = msgspec.to_builtins(one.oauth2)
        row.issuer = plain_oauth2.issuer_of(Endpoints(**row.oauth2))
    row.secret_file = one.client_secret_file
    return row


def client_of(provider: Provider, redirect_uri: str) -> ClientOf:
    """Raises: SignOnFailed, where the file of the secret cannot be read."""
    return ClientOf(
        issuer=provider.issuer,
        client_id=provider.client_id,
        client_secret=provider.client_secret or _secret_of(provider.secret_file),
        redirect_uri=redirect_uri,
        group_claim=provider.group_claim if provider.roles or provider.teams else "",
        endpoints=plain_oauth2.read(provider.oauth2) if provider.oauth2 else None,
    )


def begin(client: ClientOf) -> tuple[str, Journey]:
    """Give where to send the visitor, and what to keep until they come back. Raises: SignOnFailed."""
    if client.endpoints is not None:
        return plain_oauth2.begin(client, client.endpoints)
    return oidc.begin(client)


def finish(client: ClientOf, journey: Journey, answer: Mapping[str, str]) -> dict[str, Any]:
    """Check what came back and give the claims of who it is. Raises: SignOnFailed."""
    if client.endpoints is not None:
        return plain_oauth2.finish(client, client.endpoints, journey, answer)
    return oidc.finish(client, journey, answer)


def _secret_of(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8").strip() if file else ""
    except (OSError, UnicodeDecodeError):
        raise SignOnFailed("The provider's secret cannot be read from its file.") from None


def enter(provider: Provider, claims: Mapping[str, Any]) -> User:
    """Give whose account this is, as the groups say it now. Raises: SignOnFailed."""
    with transaction.atomic():
        identity = _identity_of(provider, claims)
        user = identity.user if identity else _make(provider, claims)
        if not user.is_active:
            raise SignOnFailed("This account is disabled.")
        _follow(provider, user, groups(provider, claims))
        mine = Identity.objects.filter(issuer=provider.issuer, subject=claims["sub"])
        mine.update(last_used_at=timezone.now(), label=label(claims))
    return user


def connect(provider: Provider, claims: Mapping[str, Any], user: User) -> None:
    """Let a signed-in person enter by a provider too. Raises: SignOnFailed."""
    with transaction.atomic():
        identity = _identity_of(provider, claims)
        if identity is not None and identity.user_id != user.pk:
            raise SignOnFailed("That identity belongs to another account here.")
        if identity is None:
            _remember(provider, claims, user)


def disconnect(identity: Identity) -> None:
    """Raises: SignOnFailed, where nothing else would let the person in."""
    user = identity.user
    if not user.has_usable_password() and user.identities.count() < 2:
        raise SignOnFailed("Nothing else lets you in: keep it.")
    with transaction.atomic():
        audit.record("identity.remove", "user", user.username, pk=user.pk)
        identity.delete()


def groups(provider: Provider, claims: Mapping[str, Any]) -> frozenset[str]:
    """Give the groups that the provider names: a list of texts, or one text."""
    told = claims.get(provider.group_claim, []) if provider.group_claim else []
    names = [told] if isinstance(told, str) else told if isinstance(told, list) else []
    return frozenset(name for name in names[:MOST_GROUPS] if isinstance(name, str))


def role_for(provider: Provider, held: Iterable[str]) -> str:
    """Give the highest role that a group names, else the default; "" where there is none."""
    named = [provider.roles[group] for group in held if group in provider.roles]
    ranked = sorted(named, key=lambda role: (role in ORDER and ORDER.index(role) + 1, role))
    return ranked[-1] if ranked else provider.default_role


def label(claims: Mapping[str, Any]) -> str:
    for name in ("preferred_username", "email", "name"):
        if isinstance(found := claims.get(name), str) and found.isprintable():
            return found[:200]
    return str(claims["sub"])[:200]


def _identity_of(provider: Provider, claims: Mapping[str, Any]) -> Identity | None:
    found = Identity.objects.select_related("user")
    return found.filter(issuer=provider.issuer, subject=claims["sub"]).first()


def _make(provider: Provider, claims: Mapping[str, Any]) -> User:
    if not provider.makes_accounts:
        raise SignOnFailed("You have no account here. Ask an administrator for one.")
    role = role_for(provider, groups(provider, claims))
    if not role:
        raise SignOnFailed("None of your groups may use this hub.")
    user = User(username=_free_name(label(claims)), role=role)
    user.set_unusable_password()
    user.save()
    after = {"role": role, "provider": provider.slug}
    audit.record("user.add", "user", user.username, pk=user.pk, after=after)
    _remember(provider, claims, user)
    return user


def _remember(provider: Provider, claims: Mapping[str, Any], user: User) -> None:
    Identity.objects.create(
        user=user, issuer=provider.issuer, subject=claims["sub"], label=label(claims)
    )
    after = {"issuer": provider.issuer}
    audit.record("identity.add", "user", user.username, pk=user.pk, after=after)


def _free_name(wanted: str) -> str:
    """Give a name that nobody has: an account of that name here is somebody else's."""
    base = re.sub(r"[^\w.@+-]+", "-", wanted).strip("-")[:120] or "person"
    name, number = base, 1
    while User.objects.filter(username__iexact=name).exists():
        number += 1
        name = f"{base}-{number}"
    return name


def _follow(provider: Provider, user: User, held: frozenset[str]) -> None:
    """Take role and teams from the groups of now."""
    if provider.roles:
        role = role_for(provider, held)
        if not role:
            raise SignOnFailed("None of your groups may use this hub.")
        _change_role(user, role)
    for group, name in provider.teams.items():
        _change_team(user, name, is_in=group in held)


def _change_role(user: User, role: str) -> None:
    if user.role == role:
        return
    people.lock_admins()
    before = {"role": user.role}
    user.role = role
    try:
        people.keep_an_admin(user)
    except InTheWay:
        words = "You are the last administrator, and your groups do not say so."
        raise SignOnFailed(words) from None
    user.save(update_fields=["role"])
    audit.record(
        "user.role", "user", user.username, pk=user.pk, before=before, after={"role": role}
    )


def _change_team(user: User, name: str, *, is_in: bool) -> None:
    team = Team.objects.filter(name=name).first()
    if team is None:
        return
    if is_in:
        _, changed = Membership.objects.get_or_create(team=team, user=user)
    else:
        changed = bool(Membership.objects.filter(team=team, user=user).delete()[0])
    if changed:
        action = "team.join" if is_in else "team.leave"
        audit.record(action, "team", team.name, pk=team.pk, after={"user": user.username})
