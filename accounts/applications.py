"""Third-party applications (OAuth2): registered, and their access tokens looked up for the door.

Codes, PKCE and rotation are django-oauth-toolkit's; `accounts.oauth` tells it our rules.
"""

import datetime as dt
import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import audit, crypto, epoch, grants, peppers, scopes
from accounts.denials import Refusal
from accounts.models import Application, User
from accounts.principals import Principal

PREFIX = "hubo_"
_FORM = re.compile(rf"{PREFIX}[0-9A-Za-z]{{{crypto.SECRET_CHARS}}}([0-9A-Za-z]{{6}})")
NAME_CHARS = 100
MOST_URIS = 10


class AppRefused(Refusal):
    """An application cannot be registered so; `field` is at fault."""


@dataclass(frozen=True, slots=True)
class Found:
    """What an access token stands for now."""

    user: User
    client_id: str
    scopes: frozenset[str]
    ends_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants to register."""

    name: str
    redirect_uris: list[str]
    scopes: list[str]
    is_public: bool = False  # a program that cannot keep a secret
    service: User | None = None  # client credentials act as this account


def new_token(_request: object = None, refresh_token: object = None) -> str:
    """Make a token that the door knows by its form; called by oauthlib."""
    body = PREFIX + crypto.base62(secrets.randbits(256), crypto.SECRET_CHARS)
    return body + crypto.checksum(body)


def is_token(text: str) -> bool:
    found = _FORM.fullmatch(text)
    return found is not None and crypto.checksum(text[: -len(found[1])]) == found[1]


def token_of(text: str) -> Found | None:
    """Find whom an access token stands for, None where it does not hold any more."""
    from oauth2_provider.models import AccessToken  # noqa: PLC0415 (as late as its app)

    digest = hashlib.sha256(text.encode()).hexdigest()
    rows = AccessToken.objects.select_related("user", "application__service")
    row = rows.filter(token_checksum=digest, expires__gt=timezone.now()).first()
    if row is None or row.application is None:
        return None
    user = row.user or row.application.service
    if user is None or not user.is_active:
        return None
    held = frozenset(row.scope.split()).intersection(row.application.scopes)
    return Found(user, row.application.client_id, held, row.expires)


def register(wanted: Wanted, by: Principal) -> tuple[Application, str]:
    """Make an application and give it with its secret, which is never to be seen again.

    A public one has no secret. Raises: AppRefused.
    """
    _check(wanted, by)
    secret = "" if wanted.is_public else crypto.new_key().plaintext.removeprefix(crypto.PREFIX)
    kinds = Application
    with transaction.atomic():
        app = Application.objects.create(
            name=wanted.name.strip(),
            user_id=by.user_id,
            service=wanted.service,
            scopes=sorted(set(wanted.scopes)),
            redirect_uris=" ".join(wanted.redirect_uris),
            client_type=kinds.CLIENT_PUBLIC if wanted.is_public else kinds.CLIENT_CONFIDENTIAL,
            authorization_grant_type=kinds.GRANT_CLIENT_CREDENTIALS
            if wanted.service
            else kinds.GRANT_AUTHORIZATION_CODE,
            client_secret=_secret_digest(peppers.newest(), secret) if secret else "",
            hash_client_secret=False,  # it is a digest under the pepper already
        )
        after = {"redirect_uris": wanted.redirect_uris, "scopes": app.scopes}
        audit.record("application.add", "application", app.name, pk=app.pk, after=after)
    return app, secret


def is_secret(secret: str, kept: str) -> bool:
    """Compare with what is kept, in constant time, under each pepper."""
    found = [_secret_digest(pepper, secret).encode() for pepper in peppers.every()]
    return any([crypto.matches(one, kept.encode()) for one in found])  # noqa: C419 (all, whatever is right)


def _secret_digest(pepper: bytes, secret: str) -> str:
    """Random secrets need no slow hash: an HMAC under the pepper, as API keys have."""
    return crypto.digest(pepper, f"client:{secret}").hex()


def listing(who: Principal) -> QuerySet[Application]:
    """Give one's own applications, or all with `system:manage`."""
    apps: QuerySet[Application] = Application.objects.select_related("user", "service")
    return apps if who.allows("system:manage") else apps.filter(user_id=who.user_id)


def remove(app: Application) -> None:
    """End an application and every token of it, within 2 s."""
    with transaction.atomic():
        audit.record("application.remove", "application", app.name, pk=app.pk)
        app.delete()
        epoch.bump()


def with_access(user: User) -> QuerySet[Application]:
    """Give the applications that hold a token of this person."""
    live = {"accesstoken__user": user, "accesstoken__expires__gt": timezone.now()}
    later = {"refreshtoken__user": user, "refreshtoken__revoked__isnull": True}
    apps: QuerySet[Application] = Application.objects.all()
    return (apps.filter(**live) | apps.filter(**later)).distinct()


def note_allowed(client_id: str, wanted: list[str]) -> None:
    """Tell the audit log that a person let an application in."""
    app = Application.objects.get(client_id=client_id)
    audit.record("application.allow", "application", app.name, pk=app.pk, after={"scopes": wanted})


def end_access(app: Application, user: User) -> None:
    """Take an application what a person let it do."""
    from oauth2_provider.models import (  # noqa: PLC0415
        AccessToken,
        Grant,
        RefreshToken,
    )

    with transaction.atomic():
        for kind in (Grant, RefreshToken, AccessToken):
            kind.objects.filter(application=app, user=user).delete()
        audit.record("application.end_access", "application", app.name, pk=app.pk)
        epoch.bump()


def _check(wanted: Wanted, by: Principal) -> None:
    """Raises: AppRefused."""
    name = wanted.name.strip()
    if not name or len(name) > NAME_CHARS or not name.isprintable():
        raise AppRefused("An application needs a name of 1 to 100 printable characters.", "name")
    _check_scopes(wanted.scopes, by)
    if wanted.service is not None:
        _check_service(wanted, wanted.service, by)
    elif not wanted.redirect_uris:
        raise AppRefused("Name the address to which people are led back.", "redirect_uris")
    if len(wanted.redirect_uris) > MOST_URIS:
        raise AppRefused("At most ten addresses.", "redirect_uris")
    for uri in wanted.redirect_uris:
        check_uri(uri)


def _check_scopes(names: Iterable[str], by: Principal) -> None:
    names = list(names)
    if not names or scopes.unknown(names):
        raise AppRefused("Choose what the application may do.", "scopes")
    for name in names:
        if not by.allows(name):
            raise AppRefused(f"You do not hold the scope {name}, so you cannot give it.", "scopes")


def _check_service(wanted: Wanted, service: User, by: Principal) -> None:
    """Nobody gets through an application what they could not get by a key."""
    if not by.allows("users:manage"):
        raise AppRefused("Acting as an account needs the right to manage people.", "service")
    if by.key_id is not None and (by.models is not None or by.networks or by.expires_at):
        raise AppRefused("A limited key registers no program that acts by itself.", "service")
    if wanted.is_public:
        raise AppRefused("A program without a secret cannot act by itself.", "is_public")
    for name in sorted(scopes.expand(wanted.scopes)):
        if not grants.holds_where(by, name, service):
            words = f"You do not hold {name} where {service.username} does."
            raise AppRefused(words, "scopes")


def check_uri(uri: str) -> None:
    """https, or http on loopback, or a scheme of the program's own; exact. Raises: AppRefused."""
    try:
        parts = urlsplit(uri)
        host = parts.hostname or ""
    except ValueError:
        raise AppRefused("The address cannot be read.", "redirect_uris") from None
    local = host in {"localhost", "127.0.0.1", "::1"}
    own = "." in parts.scheme and not host  # Source: RFC 8252 §7.1, such as com.example.app:/back
    if not ((parts.scheme == "https" and host) or (parts.scheme == "http" and local) or own):
        raise AppRefused("An address begins with https://, or is on this machine.", "redirect_uris")
    if parts.fragment or parts.username or "*" in uri or len(uri) > 500 or uri.split() != [uri]:
        raise AppRefused("No fragment, user, star or space in an address.", "redirect_uris")
