"""When keys were last used: noted in memory on the hot path, written in batches off it."""

import datetime as dt

from django.db import DatabaseError, transaction
from django.utils import timezone

from accounts import client_address
from accounts.later import Later
from accounts.models import ApiKey

FLUSH_S = 10.0

_seen: dict[int, tuple[dt.datetime, str | None]] = {}  # by key: when and from where


def note(key: int, client_ip: str | None = None) -> None:
    """Remember that the key with this primary key was used just now, and from where."""
    _seen[key] = timezone.now(), client_ip
    _later.arm()


def flush() -> int:
    """Write what was noted and return the number of keys."""
    batch = {key: _seen.pop(key) for key in list(_seen)}
    try:
        with transaction.atomic():
            for key, (used_at, client_ip) in batch.items():
                address = client_address.read(client_ip)
                ApiKey.objects.filter(pk=key).update(
                    last_used_at=used_at, last_used_from=address and str(address)
                )
    except DatabaseError:
        _seen.update({**batch, **_seen})
        raise
    return len(batch)


def drop() -> None:
    """Forget what was noted and stop the timer: between tests."""
    _later.cancel()
    _seen.clear()


_later = Later(FLUSH_S, flush, lambda: _seen, "the last use of some keys could not be written")
