"""Redis for accounts: one blocking client per process, one asyncio client per event loop.

Time limits are short: whoever asks has an answer for the case that Redis is away. Once it is known to
be away nobody waits for it any more (`accounts.presence`).
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from functools import cache
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings
from django.core.signals import setting_changed
from redis.backoff import NoBackoff
from redis.retry import Retry

from accounts.presence import Presence

CONNECT_S = 1.0
ANSWER_S = 1.0
BUSY_S = 3.0  # for an event loop, which counts its own queue of work too
POOLED = 32  # connections of an event loop; a flood waits for one of them
QUEUE_S = 5.0
Away = (redis.RedisError, OSError)  # what a client raises when Redis cannot answer
_LOST = (redis.ConnectionError, redis.TimeoutError, OSError)  # and where it did not even say no

_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = WeakKeyDictionary()
_waits: WeakKeyDictionary[asyncio.AbstractEventLoop, set[asyncio.Timeout]] = WeakKeyDictionary()


class NotAsked(redis.ConnectionError):
    """Redis did not answer lately: nobody waits for it now."""


@contextlib.contextmanager
def in_thread() -> Iterator[redis.Redis]:
    """Give the blocking client, for a thread. Raises: Away, at once where it is known."""
    presence = _present()
    try:
        yield blocking()
    except _LOST:
        presence.lose()
        raise


@contextlib.asynccontextmanager
async def on_loop() -> AsyncIterator[redis.asyncio.Redis]:
    """Give the client of the running event loop. Raises: Away, at once where it is known."""
    presence, loop = _present(), asyncio.get_running_loop()
    waits = _waits.setdefault(loop, set())
    try:
        async with asyncio.timeout(BUSY_S) as wait:
            waits.add(wait)
            try:
                yield _of_loop(loop)
            finally:
                waits.discard(wait)
    except _LOST:
        presence.lose()
        raise


def suspect() -> None:
    """Let somebody look now whether Redis answers."""
    _presence().suspect()


def away_for_s() -> float:
    """Tell how long Redis has been away; 0 while it answers."""
    presence = _presence()
    return time.monotonic() - presence.lost_at_s if presence.away else 0.0


@cache
def blocking() -> redis.Redis:
    """Return the client for threads, whatever is known of Redis."""
    return _client()


def _present() -> Presence:
    presence = _presence()
    presence.start()
    if presence.away:
        raise NotAsked("Redis does not answer")
    return presence


@cache
def _presence() -> Presence:
    own = _client()  # of the thread that watches

    def answers() -> bool:
        try:
            return bool(own.ping())
        except Away:
            return False

    return Presence(answers, _end_waits)


def _client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.HUB_REDIS_URL,
        socket_connect_timeout=CONNECT_S,
        socket_timeout=ANSWER_S,
        retry=Retry(NoBackoff(), 0),
    )


def _of_loop(loop: asyncio.AbstractEventLoop) -> redis.asyncio.Redis:
    if loop not in _by_loop:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            settings.HUB_REDIS_URL,
            max_connections=POOLED,
            timeout=QUEUE_S,
            socket_connect_timeout=BUSY_S,
            socket_timeout=BUSY_S,
        )
        _by_loop[loop] = redis.asyncio.Redis(connection_pool=pool)
    return _by_loop[loop]


def _end_waits() -> None:
    """Let every event loop's requests go on without Redis; called from any thread."""
    for loop in [*_waits]:
        with contextlib.suppress(RuntimeError):  # a loop that is closed
            loop.call_soon_threadsafe(_expire, loop)


def _expire(loop: asyncio.AbstractEventLoop) -> None:
    for wait in [*_waits.get(loop, ())]:
        if _presence().away and not wait.expired():
            wait.reschedule(loop.time())


def forget(*, setting: str = "HUB_REDIS_URL", **_: object) -> None:
    """Drop the clients when the address changes (in tests)."""
    if setting == "HUB_REDIS_URL":
        _presence().end()
        _presence.cache_clear()
        blocking.cache_clear()
        _by_loop.clear()


setting_changed.connect(forget)
