"""API clients sign in: access tokens of 15 minutes and refresh tokens that work once.

A refresh token that comes a second time was stolen, from the client or by it: its whole grant ends.
"""

import datetime as dt
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone

from accounts import audit, crypto, epoch, jwts, peppers
from accounts.models import ApiKey, Grant, User
from accounts.principals import Principal

REFRESH_S = 30 * 24 * 3600  # of a grant, however often it is refreshed
MOST_OF_ONE = 100  # grants of one person; the oldest go
PREFIX = "hubr_"
_FORM = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{crypto.ID_CHARS}}})([0-9]{{6}})([0-9A-Za-z]{{43}})")


class TokenRefused(Exception):
    """The message is safe to show."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What a client gets."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires_in_s: int
    scopes: list[str]


def issue(
    who: Principal, user: User, wanted: Iterable[str], key: ApiKey | None, name: str, address: str
) -> Pair:
    """Begin a grant of `wanted` scopes, as far as `who` holds them. Raises: TokenRefused."""
    granted = sorted(set(wanted))
    for scope in granted:
        if not who.allows(scope):
            raise TokenRefused(f"You do not hold the scope {scope}, so no token can carry it.")
    ends = timezone.now() + dt.timedelta(seconds=REFRESH_S)
    if who.expires_at is not None:
        ends = min(ends, who.expires_at)
    with transaction.atomic():
        grant = Grant.objects.create(
            public_id=crypto.new_key().public_id,
            salt=secrets.token_bytes(16),
            user=user,
            key=key,
            scopes=granted,
            proof=user.get_session_auth_hash(),
            name=name[:200],
            address=address[:64],
            expires_at=ends,
        )
        _drop_oldest(user)
        audit.record("token.issue", "token", name or "api client", pk=grant.public_id)
    return _pair(grant)


def refresh(text: str) -> Pair:
    """Change a refresh token for the next one. Raises: TokenRefused."""
    grant, generation = _read(text)
    now = timezone.now()
    fresh = Grant.objects.filter(pk=grant.pk, generation=generation, revoked_at__isnull=True)
    if fresh.filter(expires_at__gt=now).update(generation=F("generation") + 1, refreshed_at=now):
        grant.generation += 1
        if not holds(grant):
            raise TokenRefused("This sign-in has ended.")
        return _pair(grant)
    if grant.revoked_at is None and generation < grant.generation:
        end([grant], "token.reuse")
        raise TokenRefused("This refresh token was used before: its sign-in has ended.")
    raise TokenRefused("This sign-in has ended.")


def revoke(text: str) -> None:
    """End the grant of a refresh token; an unknown one is no error. Source: RFC 7009 §2.2."""
    try:
        grant, _generation = _read(text)
    except TokenRefused:
        return
    end([grant])


def end(grants: Iterable[Grant], action: str = "token.revoke") -> None:
    """End grants and their access tokens, on every process within 2 s."""
    with transaction.atomic():
        for grant in grants:
            ended = Grant.objects.filter(pk=grant.pk, revoked_at__isnull=True)
            if ended.update(revoked_at=timezone.now()):
                audit.record(action, "token", grant.name or "api client", pk=grant.public_id)
        epoch.bump()


def end_all(user: User) -> None:
    """End everything that programs hold of this person, whatever is still under way."""
    with transaction.atomic():
        User.objects.filter(pk=user.pk).update(token_version=F("token_version") + 1)
        Grant.objects.filter(user=user, revoked_at__isnull=True).update(revoked_at=timezone.now())
        audit.record("token.revoke_all", "user", user.username, pk=user.pk)
        epoch.bump()


def listing(user: User) -> QuerySet[Grant]:
    """Give what programs hold of a person now."""
    grants = Grant.objects.filter(user=user, revoked_at__isnull=True)
    return grants.filter(expires_at__gt=timezone.now())


def of_claims(claims: jwts.Claims) -> Grant | None:
    """Find the grant that an access token stands on, if it still holds."""
    grant = (
        Grant.objects.select_related("user", "key__owner").filter(public_id=claims.grant).first()
    )
    if grant is None or grant.user_id != claims.user_id:
        return None
    return grant if holds(grant) and grant.user.token_version == claims.version else None


def holds(grant: Grant) -> bool:
    """Tell whether a grant was ended, ran out, or was begun with another password."""
    alive = grant.revoked_at is None and grant.expires_at > timezone.now()
    key_ended = grant.key is not None and grant.key.state != "active"
    same = hmac.compare_digest(grant.proof, grant.user.get_session_auth_hash())
    return alive and same and grant.user.is_active and not key_ended


def _pair(grant: Grant) -> Pair:
    now = int(time.time())
    ends = min(now + jwts.ACCESS_S, int(grant.expires_at.timestamp()))
    version = grant.user.token_version
    scopes = frozenset(grant.scopes)
    claims = jwts.Claims(grant.public_id, grant.user_id, version, scopes, ends)
    access = jwts.encode(claims, secrets.token_urlsafe(12), now)
    return Pair(
        access,
        _refresh_token(grant, grant.generation, peppers.newest()),
        ends - now,
        sorted(scopes),
    )


def _refresh_token(grant: Grant, generation: int, pepper: bytes) -> str:
    body = f"{PREFIX}{grant.public_id}{generation:06d}"
    message = body.encode() + bytes(grant.salt)
    mac = hmac.digest(pepper, message, hashlib.sha256)
    return body + crypto.base62(int.from_bytes(mac), crypto.SECRET_CHARS)


def _read(text: str) -> tuple[Grant, int]:
    """Find the grant of a token that this hub made, whatever their state. Raises: TokenRefused."""
    found = _FORM.fullmatch(text)
    grants = Grant.objects.select_related("user", "key")
    grant = grants.filter(public_id=found[1]).first() if found else None
    if found is None or grant is None:
        raise TokenRefused("This is no refresh token of this hub.")
    ours = [_refresh_token(grant, int(found[2]), pepper) for pepper in peppers.every()]
    if not any([hmac.compare_digest(one, text) for one in ours]):  # noqa: C419 (all of them)
        raise TokenRefused("This is no refresh token of this hub.")
    return grant, int(found[2])


def _drop_oldest(user: User) -> None:
    kept = Grant.objects.filter(user=user).order_by("-created_at", "-pk")[:MOST_OF_ONE]
    Grant.objects.filter(user=user).exclude(pk__in=[*kept.values_list("pk", flat=True)]).delete()
