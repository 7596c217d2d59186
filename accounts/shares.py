"""How many web processes there are: each says so in Redis, so that it knows its share when Redis is lost.

`hub.web` starts the announcement; `limits` asks for the share.
"""

import contextlib
import os
import secrets
import threading
import time
from dataclasses import replace

from accounts import connections
from accounts.quota import KINDS, Quota, Subject

REDIS_KEY = "hub:web:processes"
SAY_EVERY_S = 2.0
GONE_S = 10.0  # a process that has said nothing for so long is none any more

_me = f"{os.getpid()}-{secrets.token_hex(4)}"
_seen = 1


def processes() -> int:
    """Give the number of web processes that was seen last; this one is one of them."""
    return _seen


def share_of(subjects: tuple[Subject, ...]) -> tuple[Subject, ...]:
    """Give this process's part of every limit, at least 1: all parts together make the limit."""
    return tuple(replace(one, quota=_part(one.quota)) for one in subjects)


def announce() -> None:
    """Begin to say, every 2 s, that this web process is there."""
    threading.Thread(target=_say_for_ever, name="shares", daemon=True).start()


def say() -> None:
    """Say once that this process is there, and count them all. Raises: connections.Away."""
    global _seen  # noqa: PLW0603
    now_s = time.time()
    with connections.in_thread() as client, client.pipeline() as pipe:
        pipe.zadd(REDIS_KEY, {_me: now_s})
        pipe.zremrangebyscore(REDIS_KEY, "-inf", now_s - GONE_S)
        pipe.expire(REDIS_KEY, int(GONE_S))
        pipe.zcard(REDIS_KEY)
        _seen = max(1, int(pipe.execute()[-1]))


def _part(quota: Quota) -> Quota:
    def part(limit: int) -> int:
        return max(1, limit // _seen) if limit else 0

    return Quota(**{kind: part(getattr(quota, kind)) for kind in KINDS})


def _say_for_ever() -> None:
    while True:
        with contextlib.suppress(*connections.Away):
            say()
        time.sleep(SAY_EVERY_S)
