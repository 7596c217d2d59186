"""Bearer credentials that are no keys: access tokens of API clients, and of third-party applications.

The door asks `slot` for each request (a signature, no query) and `load` when it does not know the slot.
"""

import datetime as dt
import hashlib
from dataclasses import dataclass

from accounts import applications, jwts, principals, tokens
from accounts.principals import Principal


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who a token stands for, and until when."""

    principal: Principal
    ends_at: dt.datetime


def slot(text: str) -> bytes | None:
    """Name the cache entry of a token; None where the text is of another form. Raises: BadToken."""
    if jwts.looks_like(text):
        jwts.decode(text)
    elif not applications.is_token(text):
        return None
    return hashlib.sha256(text.encode()).digest()


def load(text: str) -> Bearer:
    """Read from the database whom a token stands for now. Raises: BadToken."""
    return _of_client(text) if jwts.looks_like(text) else _of_application(text)


def _of_client(text: str) -> Bearer:
    claims = jwts.decode(text)
    grant = tokens.of_claims(claims)
    if grant is None:
        raise jwts.BadToken("invalid")
    whole = principals.of_user(grant.user) if grant.key is None else principals.of_key(grant.key)
    if whole is None:
        raise jwts.BadToken("invalid")
    ends = dt.datetime.fromtimestamp(claims.expires_at, tz=dt.UTC)
    wanted = claims.scopes.intersection(grant.scopes)
    return Bearer(principals.narrowed(whole, wanted, f"jwt_{grant.public_id}", ends), ends)


def _of_application(text: str) -> Bearer:
    found = applications.token_of(text)
    if found is None:
        raise jwts.BadToken("invalid")
    whole = principals.of_user(found.user)
    name = f"app_{found.client_id}"[:64]
    return Bearer(principals.narrowed(whole, found.scopes, name, found.ends_at), found.ends_at)
