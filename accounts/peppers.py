"""Peppers of digests: the newest makes them, each of the ring verifies what it made.

`manage.py rotate_keys --peppers` puts a new one before the others. Called where a digest is made or read.
"""

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache

from django.conf import settings

from accounts import crypto


def newest() -> bytes:
    pepper: bytes = settings.HUB_KEY_PEPPERS[0]
    return pepper


def every() -> Sequence[bytes]:
    """Give all that verify, the newest first."""
    peppers: Sequence[bytes] = settings.HUB_KEY_PEPPERS
    return peppers


@lru_cache(maxsize=64)
def version(pepper: bytes) -> str:
    """Name a pepper without telling it."""
    return hashlib.sha256(b"pepper:" + pepper).hexdigest()[:8]


def of(name: str) -> Sequence[bytes]:
    """Give the pepper of a version; all of them for a row from before there were versions."""
    return every() if not name else [pepper for pepper in every() if version(pepper) == name]


def matches(digest: bytes, text: str, name: str) -> bool:
    """Tell whether the pepper of this version made this digest of this text."""
    found = [crypto.digest(pepper, text) for pepper in of(name)] or [crypto.NOBODYS]
    return any([crypto.matches(digest, one) for one in found])  # noqa: C419 (all, whatever is right)


def made(digest: bytes, text: str) -> bool:
    """Tell whether any pepper of the ring made it, where rows keep no version."""
    return matches(digest, text, "")


def read_ring() -> None:
    """Read the ring's file again, where it is one: a running process learns of a new pepper so."""
    if settings.HUB_KEY_PEPPER_FILE is not None:
        with suppress(OSError):  # what is known goes on
            text = settings.HUB_KEY_PEPPER_FILE.read_text(encoding="ascii")
            settings.HUB_KEY_PEPPERS = [line.encode() for line in text.split()] or every()
