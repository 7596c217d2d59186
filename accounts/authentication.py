"""The one door: who asks, for the bare `/v1` application, Django, DRF and websockets alike.

Bearer (a key or a token), `x-api-key` or a session cookie; a warm request makes no query. Nothing here logs a key.
"""

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse, parse_cookie
from django.middleware.csrf import CsrfViewMiddleware
from django.utils import timezone

from accounts import (
    addresses,
    bearer,
    client_address,
    crypto,
    epoch,
    jwts,
    keys,
    last_use,
    peppers,
    principals,
    strength,
)
from accounts.principals import Principal

Headers = Mapping[str, str] | Iterable[tuple[bytes, bytes]]
Kind = Literal[
    "missing",
    "invalid",
    "expired",
    "revoked",
    "disabled",
    "ambiguous",
    "csrf",
    "network",
    "scope",
    "factor",
]
STATUS: dict[str, int] = {"ambiguous": 400, "csrf": 403, "network": 403, "scope": 403}  # else 401
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
CACHE_ENTRIES = 10_000


class Refused(Exception):
    """The request may not pass; `message` is safe to show, `kind` says why."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = STATUS.get(kind, 401)


@dataclass(frozen=True, slots=True)
class Credential:
    """What a request shows of itself: exactly one of a key and a session."""

    key: str = ""
    session: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    stamp: epoch.Stamp
    principal: Principal
    ends_at: dt.datetime | None
    digest: bytes = b""  # of the key
    pepper: str = ""  # its version
    pk: int = 0  # of the key


_cache: dict[str | bytes, _Entry] = {}


async def authenticate(
    headers: Headers, client_ip: str | None, method: str = "POST", scheme: str = "http"
) -> Principal:
    """Return who asks, with the rights that hold now.

    `headers` are ASGI's raw pairs or a mapping. A session passes an unsafe `method` only with
    Django's CSRF proof. Raises: Refused.
    """
    fields = _fields(headers)
    credential = _credential(fields)
    await epoch.refresh()
    entry = _cached(credential) or await _load_in_thread(credential)
    return _admit(entry, credential, fields, _Channel(client_ip, method, scheme))


def authenticate_now(
    headers: Headers, client_ip: str | None, method: str = "POST", scheme: str = "http"
) -> Principal:
    """Do the same from a thread. Raises: Refused."""
    fields = _fields(headers)
    credential = _credential(fields)
    epoch.refresh_now()
    entry = _cached(credential) or _load(credential)
    return _admit(entry, credential, fields, _Channel(client_ip, method, scheme))


def require(principal: Principal, scope: str) -> None:
    """Raises: Refused, where the scope is not held."""
    if not principal.allows(scope):
        raise Refused("scope", f"This needs the scope {scope}, which you do not hold.")


def shown_key(headers: Headers) -> str:
    """Give the public id of the key that a refused request shows, an empty string where none."""
    fields = _fields(headers)
    shown = [value.split(" ")[-1] for value in fields.get("authorization", ())]
    found = [crypto.public_id_of(text) for text in (*shown, *fields.get("x-api-key", ()))]
    return next((public_id for public_id in found if public_id), "")


def raw_headers(request: HttpRequest) -> list[tuple[bytes, bytes]]:
    """Return a Django request's headers as ASGI has them."""
    return [
        (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in request.headers.items()
    ]


# --- reading the request --------------------------------------------------------------------------

_WANTED = frozenset(
    {"authorization", "x-api-key", "cookie", "host", "origin", "referer", "x-csrftoken"}
)
_Fields = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class _Channel:
    client_ip: str | None
    method: str
    scheme: str


def _fields(headers: Headers) -> _Fields:
    found: _Fields = {}
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    for raw_name, raw_value in pairs:
        name = raw_name if isinstance(raw_name, str) else raw_name.decode("latin-1")
        if (name := name.lower()) in _WANTED:
            value = raw_value if isinstance(raw_value, str) else raw_value.decode("latin-1")
            found.setdefault(name, []).append(value.strip())
    return found


def _credential(fields: _Fields) -> Credential:
    shown = {_bearer(value) for value in fields.get("authorization", ())}
    shown.update(fields.get("x-api-key", ()))
    shown.discard("")
    sessions = _sessions(fields)
    if len(shown) + len(sessions) > 1:
        raise Refused("ambiguous", "Send one credential, not two: a key or a session.")
    if shown:
        return Credential(key=shown.pop())
    if sessions:
        return Credential(session=sessions.pop())
    raise Refused(
        "missing",
        "You didn't provide an API key. Send it as a header: Authorization: Bearer YOUR_KEY.",
    )


def _bearer(value: str) -> str:
    word, _, rest = value.partition(" ")
    if word.lower() != "bearer":
        raise Refused("invalid", "Authorization must be of the form: Bearer YOUR_KEY.")
    return rest.strip()


def _sessions(fields: _Fields) -> set[str]:
    """Give every session that the cookies name: of two with one name a parser keeps the last."""
    parts = [part for line in fields.get("cookie", ()) for part in line.split(";")]
    return {parse_cookie(part).get(settings.SESSION_COOKIE_NAME, "") for part in parts} - {""}


def _cookies(fields: _Fields) -> dict[str, str]:
    return parse_cookie("; ".join(fields["cookie"])) if "cookie" in fields else {}


# --- looking it up --------------------------------------------------------------------------------


def _cached(credential: Credential) -> _Entry | None:
    entry = _cache.get(_slot(credential))
    if entry is None or not epoch.holds(entry.stamp):
        return None
    return entry


def _slot(credential: Credential) -> str | bytes:
    """Name the cache entry; a key's is its public id, so that guesses cannot fill the cache."""
    if credential.session:
        return hashlib.sha256(credential.session.encode()).digest()
    try:
        if (slot := bearer.slot(credential.key)) is not None:
            return slot
    except jwts.BadToken as error:
        raise _bad_token(error) from None
    public_id = crypto.public_id_of(credential.key)
    if public_id is None:
        raise Refused(
            "invalid", "Incorrect API key provided: it is mistyped, or it is no key of this hub."
        )
    return public_id


def _load(credential: Credential) -> _Entry:
    """Read from the database; waiters for the same credential find the first one's entry."""
    entry = _cached(credential)
    if entry is None:
        stamp = epoch.stamp()
        entry = _read(credential, stamp)
        while len(_cache) >= CACHE_ENTRIES:
            _cache.pop(next(iter(_cache)), None)
        _cache[_slot(credential)] = entry
    return entry


def _read(credential: Credential, stamp: epoch.Stamp) -> _Entry:
    if credential.session:
        return _of_session(credential, stamp)
    is_key = crypto.public_id_of(credential.key) is not None
    return _of_key(credential, stamp) if is_key else _of_bearer(credential.key, stamp)


@sync_to_async
def _load_in_thread(credential: Credential) -> _Entry:
    close_old_connections()
    try:
        return _load(credential)
    finally:
        close_old_connections()


def _of_key(credential: Credential, stamp: epoch.Stamp) -> _Entry:
    key = keys.lookup(credential.key)
    if key is None:
        raise Refused("invalid", "Incorrect API key provided.")
    if key.revoked_at is not None:
        raise Refused("revoked", "This API key was revoked.")
    if not key.owner.is_active:
        raise Refused("disabled", "The owner of this API key is disabled.")
    principal = principals.of_key(key)
    if principal is None:
        raise Refused("disabled", "The owner of this API key has left its team.")
    return _Entry(stamp, principal, key.expires_at, bytes(key.digest), key.pepper, key.pk)


def _of_bearer(text: str, stamp: epoch.Stamp) -> _Entry:
    """Raises: Refused, where the token's sign-in, application or person is gone."""
    try:
        found = bearer.load(text)
    except jwts.BadToken as error:
        raise _bad_token(error) from None
    return _Entry(stamp, found.principal, found.ends_at)


def _bad_token(error: jwts.BadToken) -> Refused:
    if error.kind == "expired":
        return Refused("expired", "This access token has expired: refresh it.")
    return Refused("invalid", "This access token is not valid, or its sign-in has ended.")


def _of_session(credential: Credential, stamp: epoch.Stamp) -> _Entry:
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(credential.session)
    user = get_user(request)
    if not user.is_authenticated:
        raise Refused("invalid", "Your session has ended: sign in again.")
    if not strength.holds(request.session, user):
        raise Refused("invalid", "Your role asks for a second factor now: sign in again.")
    return _Entry(stamp, principals.of_user(user), request.session.get_expiry_date())


# --- checks of every request ----------------------------------------------------------------------


def _admit(entry: _Entry, credential: Credential, fields: _Fields, channel: _Channel) -> Principal:
    principal = entry.principal
    if entry.ends_at is not None and entry.ends_at <= timezone.now():
        raise Refused("expired", "This credential has expired.")
    if credential.session:
        _check_csrf(fields, channel)
        return principal
    if not entry.digest:  # a token: its slot in the cache is the digest of all of it
        _check_network(principal, channel.client_ip)
        return principal
    if not peppers.matches(entry.digest, credential.key, entry.pepper):
        raise Refused("invalid", "Incorrect API key provided.")
    _check_network(principal, channel.client_ip)
    last_use.note(entry.pk, channel.client_ip)
    addresses.note(entry.pk, channel.client_ip)
    return principal


def _check_network(principal: Principal, client_ip: str | None) -> None:
    if not principal.networks:
        return
    address = client_address.read(client_ip)
    if address is None:
        raise Refused("network", "This API key works from certain networks only.")
    if not any(address in network for network in principal.networks):
        raise Refused("network", "This API key does not work from your address.")


def _check_csrf(fields: _Fields, channel: _Channel) -> None:
    """Apply Django's own check: the token that the cookie proves, and the origin."""
    if channel.method.upper() in SAFE_METHODS:
        return
    check = _CsrfCheck(lambda _: None)  # type: ignore[arg-type]
    request = _Browser(fields, channel)
    check.process_request(request)
    reason = check.process_view(request, _no_view, (), {})
    if reason is not None:
        raise Refused("csrf", f"{reason} Send the csrftoken cookie's value as X-CSRFToken.")


def _no_view(*_: Any) -> HttpResponse:
    return HttpResponse()


class _CsrfCheck(CsrfViewMiddleware):
    def _reject(self, _request: HttpRequest, reason: str) -> str:
        return reason


class _Browser(HttpRequest):
    """As much of a Django request as the CSRF check reads."""

    def __init__(self, fields: _Fields, channel: _Channel) -> None:
        super().__init__()
        self.method = channel.method.upper()
        self.scheme_ = channel.scheme
        self.COOKIES = _cookies(fields)
        self.META = {"SERVER_NAME": "", "SERVER_PORT": "0"}  # without a Host, no origin is ours
        for name in ("host", "origin", "referer", "x-csrftoken"):
            if name in fields:
                self.META[f"HTTP_{name.upper().replace('-', '_')}"] = ",".join(fields[name])

    def _get_scheme(self) -> Any:
        return "https" if self.scheme_ in {"https", "wss"} else "http"


def forget() -> None:
    """Empty the cache of this process and read the epoch again at the next request."""
    _cache.clear()
    epoch.forget()
