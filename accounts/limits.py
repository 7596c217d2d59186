"""Limits that hold: every request takes a lease, says what it used, and gives the lease back.

One atomic step per admission. With Redis away each process counts for itself (limits_local).
"""

import asyncio
import logging
import math
import secrets
from collections.abc import Coroutine
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from accounts import connections, limits_redis
from accounts.ledgers import Ask, Denied, Granted, Left, Limited, Settlement
from accounts.limits_local import LocalLedger
from accounts.principals import Principal
from accounts.quota import subjects_of

logger = logging.getLogger(__name__)

LEASE_S = 30.0  # a crashed process's places come back after this
RENEW_S = 10.0

Ledger = ModuleType | LocalLedger
_NAMES = {
    "requests": "requests per minute",
    "tokens": "tokens per hour",
    "concurrency": "requests at the same time",
}


class LimitReached(Exception):
    """The request may not start now. `retry_after_s` is None where waiting does not help."""

    def __init__(self, model: str, denied: Denied) -> None:
        self.kind: Limited = denied.kind
        self.retry_after_s = denied.retry_after_s
        self._left = denied.left
        advice = (
            "This request alone is over the limit."
            if denied.retry_after_s is None
            else f"Please try again in {duration(denied.retry_after_s)}."
        )
        super().__init__(
            f"Rate limit reached for {model}: {denied.left.limit} {_NAMES[denied.kind]}. {advice}"
        )

    def headers(self) -> dict[str, str]:
        """Return the `x-ratelimit-*` headers of the limit that stands in the way."""
        return {} if self.kind == "concurrency" else _headers(self.kind, self._left)


@dataclass(slots=True, eq=False)
class Lease:
    """A request's place. End it once with `settle` or `release`; more calls do nothing."""

    ask: Ask
    granted: Granted
    ledger: Ledger
    _open: bool = field(default=True)

    def headers(self) -> dict[str, str]:
        """Return OpenAI's `x-ratelimit-*` headers; a kind without a limit has none."""
        return {
            **_headers("requests", self.granted.requests),
            **_headers("tokens", self.granted.tokens),
        }

    async def settle(self, tokens: int) -> None:
        """Count the tokens really used in place of the reserved ones, and give the place back."""
        if self._open:
            self._open = False
            _of_loop().live.discard(self)
            await _finish(self._end(max(0, tokens)))

    async def release(self) -> None:
        """Give the place back with nothing used; after `settle` this does nothing."""
        await self.settle(0)

    async def _end(self, used: int) -> None:
        end = Settlement(self.ask, self.granted.minute, used)
        try:
            await self.ledger.settle(end)
        except connections.Away:  # the lease ends by its time, its tokens stay reserved
            logger.debug("a lease could not be settled")


async def admit(principal: Principal, model: str, tokens: int) -> Lease:
    """Take a place for one request and reserve its tokens. Raises: LimitReached."""
    ask = Ask(
        subjects=subjects_of(principal),
        lease=secrets.token_hex(8),
        tokens=max(0, tokens),
        lease_us=int(LEASE_S * 1e6),
    )
    state = _of_loop()
    ledger, answer = await _ask(state, ask)
    if isinstance(answer, Denied):
        raise LimitReached(model, answer)
    lease = Lease(ask, answer, ledger)
    state.hold(lease)
    return lease


def duration(seconds: float) -> str:
    """Write a time as OpenAI does: `120ms`, `1s`, `1.5s`, `6m0s`, `1h0m40s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{math.ceil(seconds * 100) / 100:g}s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"


def _headers(kind: str, left: Left | None) -> dict[str, str]:
    if left is None:
        return {}
    return {
        f"x-ratelimit-limit-{kind}": str(left.limit),
        f"x-ratelimit-remaining-{kind}": str(left.remaining),
        f"x-ratelimit-reset-{kind}": duration(left.reset_s),
    }


# --- what an event loop holds ---------------------------------------------------------------------


@dataclass(slots=True, eq=False, weakref_slot=True)
class _Held:
    live: set[Lease] = field(default_factory=set)
    ends: set[asyncio.Task[None]] = field(default_factory=set)
    local: LocalLedger = field(default_factory=LocalLedger)
    renewer: asyncio.Task[None] | None = None

    def hold(self, lease: Lease) -> None:
        self.live.add(lease)
        if self.renewer is None or self.renewer.done():
            self.renewer = asyncio.create_task(_keep_alive(self))


_held: WeakKeyDictionary[asyncio.AbstractEventLoop, _Held] = WeakKeyDictionary()


def _of_loop() -> _Held:
    loop = asyncio.get_running_loop()
    if loop not in _held:
        _held[loop] = _Held()
    return _held[loop]


async def _ask(state: _Held, ask: Ask) -> tuple[Ledger, Granted | Denied]:
    try:
        return limits_redis, await limits_redis.admit(ask)
    except connections.Away:
        return state.local, await state.local.admit(ask)


async def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end even where the caller is cancelled meanwhile."""
    task = asyncio.create_task(work)
    ends = _of_loop().ends
    ends.add(task)
    task.add_done_callback(ends.discard)
    await asyncio.shield(task)


async def _keep_alive(state: _Held) -> None:
    """Renew what is held, until nothing is."""
    while state.live:
        await asyncio.sleep(RENEW_S)
        await renew_all(state)


async def renew_all(state: _Held | None = None) -> None:
    """Renew every lease of this event loop."""
    live = list((state or _of_loop()).live)
    for ledger in {lease.ledger for lease in live}:
        asks = [lease.ask for lease in live if lease.ledger is ledger]
        try:
            await ledger.renew(asks)
        except connections.Away:
            logger.warning("Redis is away: %d leases could not be renewed", len(asks))
