"""Encryption of secrets in the database: one ring of keys, the newest seals, all of them open.

Each place has a key of its own, derived from the ring's by the place's name, so that a sealed value
says nothing anywhere else. `accounts.fields` and `inference.vault` call this.
"""

import base64
import hashlib
import hmac
import re
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

FORM = re.compile(r"s1\.([0-9a-f]{8})\.([A-Za-z0-9_=-]+)")


class Unreadable(Exception):
    """A value was sealed with a key that is gone, for another place, or was changed."""


def seal(place: str, text: str) -> str:
    """Give `s1.` + id of the key + `.` + the encrypted text; `place` is a column, or a name."""
    key = settings.HUB_FIELD_KEYS[0]
    return f"s1.{key_id(key)}.{_cipher(key, place).encrypt(text.encode()).decode()}"


def unseal(place: str, sealed: str) -> str:
    """Raises: Unreadable."""
    found = FORM.fullmatch(sealed)
    try:
        if found is None:
            return _before_rings(sealed)
        return _cipher(_key(found[1]), place).decrypt(found[2].encode()).decode()
    except (InvalidToken, KeyError):
        raise Unreadable(f"the secret in {place} cannot be read with the keys there are") from None


def is_current(sealed: str) -> bool:
    """Tell whether the newest key sealed it."""
    return sealed.startswith(f"s1.{key_id(settings.HUB_FIELD_KEYS[0])}.")


def key_id(key: str) -> str:
    """Name a key without telling it."""
    return hashlib.sha256(b"id:" + key.encode()).hexdigest()[:8]


def proof(place: str, text: str) -> str:
    """Give an HMAC that only who holds the ring can make; it begins with the key's id."""
    key = settings.HUB_FIELD_KEYS[0]
    return f"{key_id(key)}.{_mac(key, place, text)}"


def proves(place: str, text: str, given: str) -> bool:
    """Tell whether `proof` made this, with any key of the ring."""
    name, _, mac = given.partition(".")
    try:
        return hmac.compare_digest(_mac(_key(name), place, text), mac)
    except KeyError:
        return False


def read_ring() -> None:
    """Read the ring's file again, where it is one."""
    if settings.HUB_FIELD_KEY_FILE is not None:
        settings.HUB_FIELD_KEYS = settings.HUB_FIELD_KEY_FILE.read_text(encoding="ascii").split()


def _key(name: str) -> str:
    """Raises: KeyError."""
    keys = {key_id(key): key for key in settings.HUB_FIELD_KEYS}
    if name not in keys:
        read_ring()
        keys = {key_id(key): key for key in settings.HUB_FIELD_KEYS}
    return keys[name]


@lru_cache(maxsize=256)
def _cipher(key: str, place: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(_derived(key, f"seal:{place}")))


def _mac(key: str, place: str, text: str) -> str:
    return hmac.digest(_derived(key, f"proof:{place}"), text.encode(), "sha256").hex()


def _derived(key: str, purpose: str) -> bytes:
    return HKDF(SHA256(), length=32, salt=b"ai-backend-hub", info=purpose.encode()).derive(
        key.encode()
    )


def _before_rings(sealed: str) -> str:
    """Open what a hub before rings of keys had sealed. Raises: InvalidToken."""
    for key in settings.HUB_FIELD_KEYS:
        try:
            return Fernet(key).decrypt(sealed.encode()).decode()
        except (InvalidToken, ValueError):
            continue
    raise InvalidToken
