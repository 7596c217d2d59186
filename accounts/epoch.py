"""One mark in Redis that changes whenever a right may have changed, so that caches may trust it.

Every process reads it at most every 0.5 s, when asked; with Redis away, cached rights live 1 s.
"""

import asyncio
import logging
import secrets
import threading
import time
from dataclasses import dataclass

from django.db import transaction

from accounts import connections

logger = logging.getLogger(__name__)

REDIS_KEY = "hub:accounts:epoch"
POLL_S = 0.5
AWAY_TTL_S = 1.0  # how long a cached right lives while Redis is away
MAX_TTL_S = 30.0  # and at most: covers a process that died between commit and publication
RETRY_S = 0.5


@dataclass(slots=True)
class _Seen:
    mark: bytes = b""
    due_at: float = 0.0  # monotonic time of the next read
    reachable: bool = False
    generation: int = 0  # grows with every change seen, so that an old mark is never trusted again


_seen = _Seen()


@dataclass(frozen=True, slots=True)
class Stamp:
    """When, and in which generation of rights, something was read from the database."""

    generation: int
    at: float


def stamp() -> Stamp:
    """Take before the read: a change during it then makes the result stale."""
    return Stamp(_seen.generation, time.monotonic())


def holds(stamp: Stamp) -> bool:
    """Tell whether what was read under this stamp may still be used."""
    life_s = MAX_TTL_S if _seen.reachable else AWAY_TTL_S
    return stamp.generation == _seen.generation and time.monotonic() - stamp.at < life_s


async def refresh() -> None:
    """Read the mark if it is due; one caller reads, the others go on with what is known."""
    if not _due():
        return
    try:
        async with asyncio.timeout(POLL_S), connections.on_loop() as client:
            _learn(await client.get(REDIS_KEY))
    except connections.Away:
        _seen.reachable = False
        connections.suspect()


def refresh_now() -> None:
    """Do the same from a thread."""
    if not _due():
        return
    try:
        with connections.in_thread() as client:
            _learn(client.get(REDIS_KEY))
    except connections.Away:
        _seen.reachable = False


def bump() -> None:
    """Make every process read rights again: at once here, elsewhere at its next poll."""
    transaction.on_commit(_publish)


def _due() -> bool:
    now = time.monotonic()
    if now < _seen.due_at:
        return False
    _seen.due_at = now + POLL_S
    return True


def _learn(mark: bytes | str | None) -> None:
    _see(mark.encode() if isinstance(mark, str) else mark or b"")
    _seen.reachable = True


def _see(mark: bytes) -> None:
    """A Redis that lost its data may show an old mark again: what was read under it stays old."""
    if mark != _seen.mark:
        _seen.mark = mark
        _seen.generation += 1


def _publish() -> None:
    if _renew():
        return
    logger.warning("Redis is away: other processes learn of a changed right a little later")
    threading.Thread(target=_retry, name="epoch", daemon=True).start()


def _renew() -> bool:
    """Set a mark that was never seen before, here and in Redis."""
    mark = secrets.token_bytes(12)
    _see(mark)
    try:
        with connections.in_thread() as client:
            client.set(REDIS_KEY, mark)
    except connections.Away:
        return False
    return True


def _retry() -> None:
    while not _renew():
        time.sleep(RETRY_S)


def forget() -> None:
    """Read the mark again at the next request."""
    _seen.due_at = 0.0
