"""When keys were last used: noted in memory on the hot path, written in batches off it."""

import datetime as dt
import logging
import threading

from django.db import DatabaseError, close_old_connections, transaction
from django.utils import timezone

from accounts.models import ApiKey

logger = logging.getLogger(__name__)

FLUSH_S = 10.0

_seen: dict[int, dt.datetime] = {}
_lock = threading.Lock()
_timer: threading.Timer | None = None


def note(key: int) -> None:
    """Remember that the key with this primary key was used just now."""
    global _timer  # noqa: PLW0603
    _seen[key] = timezone.now()
    if _timer is None:
        with _lock:
            if _timer is None:
                _timer = threading.Timer(FLUSH_S, _flush_late)
                _timer.daemon = True
                _timer.start()


def flush() -> int:
    """Write what was noted and return the number of keys."""
    batch = {key: _seen.pop(key) for key in list(_seen)}
    try:
        with transaction.atomic():
            for key, used_at in batch.items():
                ApiKey.objects.filter(pk=key).update(last_used_at=used_at)
    except DatabaseError:
        _seen.update({**batch, **_seen})
        raise
    return len(batch)


def drop() -> None:
    """Forget what was noted and stop the timer: between tests."""
    global _timer  # noqa: PLW0603
    if _timer is not None:
        _timer.cancel()
    _timer = None
    _seen.clear()


def _flush_late() -> None:
    global _timer  # noqa: PLW0603
    _timer = None
    close_old_connections()
    try:
        flush()
    except DatabaseError:
        logger.warning("the last use of some keys could not be written", exc_info=True)
    finally:
        close_old_connections()
