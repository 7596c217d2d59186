"""Limits that hold over all processes: each step is one atomic script in Redis."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from redis.exceptions import NoScriptError

from accounts import connections
from accounts.ledgers import Ask, Denied, Granted, Left, Settlement

_LUA = Path(__file__).parent / "lua"


@dataclass(frozen=True, slots=True)
class _Script:
    source: str
    sha: str


async def admit(ask: Ask) -> Granted | Denied:
    """Take a place, or say which limit stands in the way. Raises: connections.Away."""
    return _told(ask, await _run("admit", *_question(ask)))


def admit_now(ask: Ask) -> Granted | Denied:
    """Do the same from a thread. Raises: connections.Away."""
    script, (keys, args) = _script("admit"), _question(ask)
    with connections.in_thread() as client:
        try:
            answer = client.evalsha(script.sha, len(keys), *keys, *args)
        except NoScriptError:
            answer = client.eval(script.source, len(keys), *keys, *args)
    return _told(ask, answer)


def _question(ask: Ask) -> tuple[list[str], list[str | int]]:
    keys = [key for subject in ask.subjects for key in _keys(subject.name)]
    args: list[str | int] = [ask.now_us, ask.lease, ask.lease_us, ask.tokens]
    args += [ask.wish, ask.need]
    for subject in ask.subjects:
        quota = subject.quota
        args += [quota.requests_per_minute, quota.tokens_per_hour, quota.concurrent_requests]
    return keys, args


def _told(ask: Ask, answer: Any) -> Granted | Denied:
    left = _left(*answer[2:5]), _left(*answer[5:8])
    if answer[0]:
        return Granted(answer[1], *left, answer[8])
    kind, number, limit, wait_us = answer[8:12]
    wait_s = None if wait_us < 0 else wait_us / 1e6
    return Denied(kind.decode(), ask.subjects[number - 1].name, limit, wait_s, *left)


def _left(limit: int, remaining: int, reset_us: int) -> Left | None:
    return Left(limit, remaining, reset_us / 1e6) if limit else None


async def settle(end: Settlement) -> None:
    """Free the place and correct the tokens. Raises: connections.Away."""
    keys = [key for subject in end.ask.subjects for key in _keys(subject.name)[1:]]
    args: list[str | int] = [end.now_us, end.ask.lease, end.ask.tokens, end.minute, end.used]
    await _run("settle", keys, args)


async def renew(asks: Sequence[Ask]) -> None:
    """Keep places for another lease. Raises: connections.Away."""
    pairs = [(_keys(one.name)[2], ask.lease) for ask in asks for one in ask.subjects]
    if pairs:
        args: list[str | int] = [0, asks[0].lease_us, *(lease for _, lease in pairs)]
        await _run("renew", [key for key, _ in pairs], args)


def _keys(subject: str) -> tuple[str, str, str]:
    return (
        f"hub:limits:{subject}:requests",
        f"hub:limits:{subject}:tokens",
        f"hub:limits:{subject}:leases",
    )


async def _run(name: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:
    script = _script(name)
    async with connections.on_loop() as client:
        try:
            return await client.evalsha(script.sha, len(keys), *keys, *args)
        except NoScriptError:
            return await client.eval(script.source, len(keys), *keys, *args)


@cache
def _script(name: str) -> _Script:
    parts = [(_LUA / f"{part}.lua").read_text(encoding="utf-8") for part in ("window", name)]
    source = "\n".join(parts)
    return _Script(source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())
