"""Redis for accounts: one blocking client per process, one asyncio client per event loop.

Time limits are short: whoever asks has an answer for the case that Redis is away.
"""

import asyncio
from functools import cache
from weakref import WeakKeyDictionary

import redis
import redis.asyncio
from django.conf import settings
from django.core.signals import setting_changed

CONNECT_S = 1.0
ANSWER_S = 1.0
BUSY_S = 3.0  # for an event loop, which counts its own queue of work too
POOLED = 32  # connections of an event loop; a flood waits for one of them
QUEUE_S = 5.0
Away = (redis.RedisError, OSError)  # what a client raises when Redis cannot answer

_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, redis.asyncio.Redis] = WeakKeyDictionary()


@cache
def blocking() -> redis.Redis:
    """Return the client for threads."""
    return redis.Redis.from_url(
        settings.HUB_REDIS_URL, socket_connect_timeout=CONNECT_S, socket_timeout=ANSWER_S
    )


def of_loop() -> redis.asyncio.Redis:
    """Return the client of the running event loop."""
    loop = asyncio.get_running_loop()
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


def forget(*, setting: str = "HUB_REDIS_URL", **_: object) -> None:
    """Drop the clients when the address changes (in tests)."""
    if setting == "HUB_REDIS_URL":
        blocking.cache_clear()
        _by_loop.clear()


setting_changed.connect(forget)
