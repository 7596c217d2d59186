"""API keys as text, and their digests. Pure: no database, no settings.

A key is `hub_` + 12 characters of public id + 43 of secret (256 bits) + 6 of checksum, all base 62.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
PREFIX = "hub_"
ID_CHARS = 12
SECRET_CHARS = 43  # 62**43 > 2**256
NOBODYS = bytes(32)  # the digest of no key
CHECK_CHARS = 6  # 62**6 > 2**32
FORM = re.compile(
    rf"{PREFIX}([0-9A-Za-z]{{{ID_CHARS}}})[0-9A-Za-z]{{{SECRET_CHARS + CHECK_CHARS}}}"
)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was never stored; `plaintext` stays out of its repr."""

    public_id: str
    plaintext: str = field(repr=False)


def new_key() -> NewKey:
    """Make a key from the system's random source."""
    public_id = "".join(secrets.choice(ALPHABET) for _ in range(ID_CHARS))
    body = f"{PREFIX}{public_id}{base62(secrets.randbits(256), SECRET_CHARS)}"
    return NewKey(public_id, body + checksum(body))


def checksum(body: str) -> str:
    """CRC-32 in base 62: every mistyped or swapped character is seen without a lookup."""
    return base62(zlib.crc32(body.encode()), CHECK_CHARS)


def public_id_of(text: str) -> str | None:
    """Return the public id of a well-formed key, None where form or checksum is wrong."""
    found = FORM.fullmatch(text)
    if found is None or checksum(text[:-CHECK_CHARS]) != text[-CHECK_CHARS:]:
        return None
    return found[1]


def digest(pepper: bytes, text: str) -> bytes:
    """HMAC-SHA256, 32 bytes: useless to a thief of the database who lacks the pepper."""
    return hmac.digest(pepper, text.encode(), hashlib.sha256)


def matches(left: bytes, right: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(left, right)


def short_digest(text: str) -> str:
    """Tell two texts apart without keeping them."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:12]


def new_token() -> str:
    """Return 256 random bits for a link."""
    return secrets.token_urlsafe(32)


def base62(number: int, width: int) -> str:
    """Write a number in `width` characters of the alphabet, the lowest digits of it."""
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))
