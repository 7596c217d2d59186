"""From where keys are used: a new address of a key is told to the audit log, off the hot path."""

import threading

from django.db import DatabaseError, transaction
from django.utils import timezone

from accounts import actors, audit, client_address, notices
from accounts.later import Later
from accounts.models import ApiKey, KeyAddress

FLUSH_S = 5.0
MOST_OF_A_KEY = 1000
MOST_KNOWN = 50_000  # of this process; what is forgotten is looked up again

_known: set[tuple[int, str | None]] = set()
_new: set[tuple[int, str | None]] = set()
_lock = threading.Lock()


def note(key: int, client_ip: str | None) -> None:
    """Remember a use; nothing more happens where this process has seen it before."""
    use = (key, client_ip)
    if use in _known:
        return
    with _lock:
        if len(_known) >= MOST_KNOWN:
            _known.clear()
        _known.add(use)
        _new.add(use)
    _later.arm()


def flush() -> int:
    """Write what was noted; give how many addresses were new."""
    with _lock:
        batch = list(_new)
        _new.clear()
    try:
        return sum(_keep(key, place) for key, ip in batch if (place := client_address.place_of(ip)))
    except DatabaseError:
        with _lock:
            _new.update(batch)
        raise


def drop() -> None:
    """Forget everything and stop the timer: between tests."""
    _later.cancel()
    with _lock:
        _known.clear()
        _new.clear()


def _keep(pk: int, place: str) -> bool:
    key = ApiKey.objects.select_related("owner").filter(pk=pk).first()
    if key is None:
        return False
    known = KeyAddress.objects.filter(key=key)
    if known.filter(address=place).exists():
        known.filter(address=place).update(seen_at=timezone.now())
        return False
    owner = key.owner
    actor = actors.Actor("key", owner.username, owner.pk, key.public_id, address=place)
    if known.count() >= MOST_OF_A_KEY:
        notices.refused("key.many_addresses", "key", key.public_id, who=actor)
        return False
    with transaction.atomic(), actors.acting(actor):
        _row, is_new = known.get_or_create(key=key, address=place)
        if is_new:
            after = {"name": key.name, "address": place}
            audit.record("key.new_address", "key", key.public_id, pk=key.pk, after=after)
    return is_new


_later = Later(FLUSH_S, flush, lambda: _new, "new addresses of keys could not be written yet")
