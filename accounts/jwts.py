"""Access tokens of API clients as text: signed and read here. The algorithm and the key are ours to say.

Called by `tokens`, which makes them, and by the door, which reads them; no database.
"""

import hashlib
import hmac
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from django.conf import settings

ALGORITHM = "HS256"  # whatever a token's header says
TYPE = "at+jwt"  # Source: RFC 9068 §2.1, so that no other signed text passes for a token
AUDIENCE = "ai-backend-hub/api"
ACCESS_S = 15 * 60
MAX_CHARS = 4096
_NEEDED = ["iss", "aud", "sub", "exp", "iat", "jti", "gid", "ver"]


class BadToken(Exception):
    """The token is not one of ours, or is over."""

    def __init__(self, kind: Literal["invalid", "expired"]) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Claims:
    """What a good token says; whether its grant still holds is for the database to say."""

    grant: str
    user_id: int
    version: int
    scopes: frozenset[str]
    expires_at: int


def looks_like(text: str) -> bool:
    return text.count(".") == 2


def encode(claims: Claims, jti: str, now: int) -> str:
    import jwt  # noqa: PLC0415 (only who uses tokens pays for it)

    kid, key = _signing_key()
    body = {
        "iss": issuer(),
        "aud": AUDIENCE,
        "sub": str(claims.user_id),
        "gid": claims.grant,
        "ver": claims.version,
        "scope": " ".join(sorted(claims.scopes)),
        "iat": now,
        "exp": claims.expires_at,
        "jti": jti,
    }
    return jwt.encode(body, key, algorithm=ALGORITHM, headers={"kid": kid, "typ": TYPE})


def decode(text: str) -> Claims:
    """Check signature, type, audience, issuer and time. Raises: BadToken."""
    import jwt  # noqa: PLC0415

    if len(text) > MAX_CHARS:
        raise BadToken("invalid")
    try:
        key = _key_of(jwt.get_unverified_header(text))
        body = jwt.decode(
            text,
            key,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=issuer(),
            options={"require": _NEEDED},
        )
        return _claims(body)
    except jwt.ExpiredSignatureError:
        raise BadToken("expired") from None
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        raise BadToken("invalid") from None


def issuer() -> str:
    return settings.HUB_PUBLIC_URL or "ai-backend-hub"


def _key_of(header: dict[str, Any]) -> bytes:
    """Only keys of our own set, by name; what else the header asks for is not obeyed."""
    kid, key = _signing_key()
    shown = header.get("kid")
    if header.get("typ") != TYPE or not isinstance(shown, str) or shown != kid:
        raise BadToken("invalid")
    return key


def _claims(body: dict[str, Any]) -> Claims:
    return Claims(
        grant=str(body["gid"]),
        user_id=int(body["sub"]),
        version=int(body["ver"]),
        scopes=frozenset(str(body.get("scope", "")).split()),
        expires_at=int(body["exp"]),
    )


def _signing_key() -> tuple[str, bytes]:
    return _derived(str(settings.SECRET_KEY))


@lru_cache(maxsize=4)
def _derived(secret: str) -> tuple[str, bytes]:
    """Give a key for this use alone, with its name: another AI_HUB_SECRET_KEY ends all tokens."""
    key = hmac.digest(secret.encode(), b"hub access tokens v1", hashlib.sha256)
    return hashlib.sha256(key).hexdigest()[:16], key
