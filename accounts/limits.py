"""Limits that hold: every request takes a lease, says what it used, and gives the lease back.

One atomic step per admission. With Redis away each process counts its share (limits_local, shares).
"""

import asyncio
import logging
import math
import secrets
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from django.conf import settings

from accounts import connections, limits_redis, quota, shares
from accounts.ledgers import Ask, Denied, Granted, Left, Limited, Settlement
from accounts.limits_local import LocalLedger
from accounts.principals import Principal
from accounts.quota import Subject

logger = logging.getLogger(__name__)

LEASE_S = 30.0  # a crashed process's places come back after this
RENEW_S = 10.0
HOUR_S = 3600.0

Ledger = ModuleType | LocalLedger
_NAMES = {
    "requests": "requests per minute",
    "tokens": "tokens per hour",
    "concurrency": "requests at the same time",
}
_alone = LocalLedger()  # of threads, while Redis is away
_alone_lock = threading.Lock()
_WHOSE = {"key": "this key", "user": "this user", "team": "this team", "model": "all callers"}


class LimitReached(Exception):
    """The request may not start now. `never`: waiting does not help, it alone is over the limit."""

    def __init__(self, model: str, denied: Denied) -> None:
        self.kind: Limited = denied.kind
        self.never = denied.retry_after_s is None
        self.retry_after_s = HOUR_S if denied.retry_after_s is None else denied.retry_after_s
        self._denied = denied
        advice = (
            "This request alone is over the limit: ask for less."
            if self.never
            else f"Please try again in {duration(self.retry_after_s)}."
        )
        whose = _WHOSE[denied.subject.partition(":")[0]]
        what = f"{denied.limit} {_NAMES[denied.kind]}"
        super().__init__(f"Rate limit reached for {model}: {what} of {whose}. {advice}")

    def headers(self) -> dict[str, str]:
        """Return the `x-ratelimit-*` headers: of the tightest limits, and of the one in the way."""
        own = Left(self._denied.limit, 0, self.retry_after_s)
        found = _both(self._denied)
        return found | (_headers("concurrency", own) if self.kind == "concurrency" else {})


class Closed(Exception):
    """Nobody counts any more, and who asks has a budget that must hold."""

    retry_after_s = 5.0


@dataclass(slots=True, eq=False)
class Lease:
    """A request's place. End it once with `settle` or `release`; more calls do nothing."""

    ask: Ask
    granted: Granted
    ledger: Ledger
    _open: bool = field(default=True)

    def headers(self) -> dict[str, str]:
        """Return OpenAI's `x-ratelimit-*` headers; a kind without a limit has none."""
        return _both(self.granted)

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
        ask = replace(self.ask, tokens=self.granted.reserved)
        end = Settlement(ask, self.granted.minute, used)
        try:
            await self.ledger.settle(end)
        except connections.Away:  # there the lease ends by its time, its tokens stay reserved
            await _of_loop().local.settle(end)
            logger.debug("a lease could not be settled")


async def admit(
    principal: Principal,
    model: str,
    tokens: int,
    most: int = 0,
    least: int | None = None,
    *,
    base: str = "",
) -> Lease:
    """Take a place for one request and reserve its tokens, as `Ask` says; `base` is an adapter's.

    Raises: LimitReached, Closed.
    """
    await quota.refresh()
    return await _admit(quota.subjects_of(principal, model, base), model, tokens, most, least)


async def admit_beside(
    models: Sequence[str], tokens: int, most: int = 0, least: int | None = None
) -> Lease | None:
    """Take a place at another model, and at its base, for a request that has its own already.

    None: they have no limits. Raises: LimitReached, Closed.
    """
    subjects = quota.subjects_of_models(*models)
    return await _admit(subjects, models[0], tokens, most, least) if subjects else None


async def _admit(
    subjects: tuple[Subject, ...], model: str, tokens: int, most: int, least: int | None
) -> Lease:
    ask = Ask(
        subjects=subjects,
        lease=secrets.token_hex(8),
        tokens=max(0, tokens),
        lease_us=int(LEASE_S * 1e6),
        most=most,
        least=least,
    )
    state = _of_loop()
    ledger, answer = await _ask(state, ask)
    if isinstance(answer, Denied):
        raise LimitReached(model, answer)
    lease = Lease(ask, answer, ledger)
    state.hold(lease)
    return lease


async def count(principal: Principal) -> dict[str, str]:
    """Count a call that uses no model with requests per minute; give its headers.

    Raises: LimitReached.
    """
    await quota.refresh()
    ask = _ask_of_call(principal)
    if not ask.subjects:
        return {}
    _, answer = await _ask(_of_loop(), ask)
    return _counted(answer)


def count_now(principal: Principal) -> dict[str, str]:
    """Do the same from a thread. Raises: LimitReached."""
    quota.refresh_now()
    ask = _ask_of_call(principal)
    if not ask.subjects:
        return {}
    try:
        answer = limits_redis.admit_now(ask)
    except connections.Away:
        with _alone_lock:
            answer = _alone.admit_now(replace(ask, subjects=shares.share_of(ask.subjects)))
    return _counted(answer)


def _ask_of_call(principal: Principal) -> Ask:
    return Ask(quota.subjects_of_call(principal), lease="", tokens=0, lease_us=0)


def _counted(answer: Granted | Denied) -> dict[str, str]:
    if isinstance(answer, Denied):
        raise LimitReached("calls", answer)
    return _both(answer)


def duration(seconds: float) -> str:
    """Write a time as OpenAI does: `120ms`, `1s`, `1.5s`, `6m0s`, `1h0m40s`."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    if seconds < 60:
        return f"{math.ceil(seconds * 100) / 100:g}s"
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"


def _both(answer: Granted | Denied) -> dict[str, str]:
    return {**_headers("requests", answer.requests), **_headers("tokens", answer.tokens)}


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
    alone: bool = False  # the last place was given by this process

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
        answer = await limits_redis.admit(ask)
    except connections.Away:
        _close_budgets(ask)
    else:
        state.alone = False
        return limits_redis, answer
    if not state.alone:
        state.alone = True
        await _take_over(state)
    mine = replace(ask, subjects=shares.share_of(ask.subjects))
    return state.local, await state.local.admit(mine)


def _close_budgets(ask: Ask) -> None:
    """Shares are a guess: after a while nobody spends a budget on it. Raises: Closed."""
    away_s = connections.away_for_s()
    if away_s > settings.HUB_LIMITS_GRACE_S and any(one.budget for one in ask.subjects):
        raise Closed(
            f"Redis, which counts the tokens of this budget, has been away for {away_s:.0f} s."
        )


async def _take_over(state: _Held) -> None:
    """Let places that Redis gave to this process count here too."""
    await state.local.renew([one.ask for one in state.live if one.ledger is not state.local])


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
            await _of_loop().local.renew(asks)
