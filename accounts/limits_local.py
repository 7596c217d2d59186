"""The same limits inside one process, for a while after Redis was lost. Pure but for the clock.

Each web process counts for itself; `limits` gives it its share of every limit.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from accounts.ledgers import Ask, Denied, Granted, Left, Limited, Settlement
from accounts.quota import Quota, Subject

MINUTE_US = 60_000_000
KEPT_MINUTES = 61


def _wall_us() -> int:
    return time.time_ns() // 1000


@dataclass(slots=True)
class _Account:
    free_at_us: int = 0  # GCRA: when all earlier requests will have been paid for
    buckets: dict[int, int] = field(default_factory=dict)  # minute -> tokens
    leases: dict[str, int] = field(default_factory=dict)  # lease -> end

    def prune(self, now_us: int) -> None:
        oldest = now_us // MINUTE_US - KEPT_MINUTES
        self.buckets = {m: tokens for m, tokens in self.buckets.items() if m > oldest}
        self.leases = {lease: end for lease, end in self.leases.items() if end > now_us}

    def wait_us(self, missing: int, now_us: int) -> int:
        for minute in sorted(self.buckets):
            missing -= self.buckets[minute]
            if missing <= 0:
                return (minute + KEPT_MINUTES) * MINUTE_US - now_us
        return -1


Wait = tuple[Limited, str, int, int]  # kind, subject, limit, us (-1: never)


class LocalLedger:
    """Counts like the scripts in lua/; calls come from one event loop, so nothing is locked."""

    def __init__(self, clock_us: Callable[[], int] = _wall_us) -> None:
        self._clock_us = clock_us
        self._accounts: dict[str, _Account] = {}

    async def admit(self, ask: Ask) -> Granted | Denied:
        return self.admit_now(ask)

    def admit_now(self, ask: Ask) -> Granted | Denied:
        now_us = ask.now_us or self._clock_us()
        pairs = [(one, self._account(one.name, now_us)) for one in ask.subjects]
        waits = [wait for one, account in pairs for wait in _waits(account, one, ask, now_us)]
        grant = min((_room(account, one.quota, ask) for one, account in pairs), default=ask.wish)
        if not waits:
            for one, account in pairs:
                _take(account, one.quota, ask, now_us, grant)
        requests = _tightest(_requests_left(account, one.quota, now_us) for one, account in pairs)
        tokens = _tightest(_tokens_left(account, one.quota, now_us) for one, account in pairs)
        if not waits:
            return Granted(now_us // MINUTE_US, requests, tokens, grant)
        kind, subject, limit, wait_us = max(waits, key=_lasts)
        return Denied(
            kind, subject, limit, None if wait_us < 0 else wait_us / 1e6, requests, tokens
        )

    async def settle(self, end: Settlement) -> None:
        now_us = end.now_us or self._clock_us()
        for subject in end.ask.subjects:
            account = self._account(subject.name, now_us)
            account.leases.pop(end.ask.lease, None)
            if account.buckets.get(end.minute, 0) >= end.ask.tokens:
                account.buckets[end.minute] = account.buckets.get(end.minute, 0) - end.ask.tokens
            minute = now_us // MINUTE_US
            account.buckets[minute] = account.buckets.get(minute, 0) + end.used

    async def renew(self, asks: Sequence[Ask]) -> None:
        """Keep places for another lease: also those that Redis gave before it was lost."""
        now_us = self._clock_us()
        for ask in asks:
            for subject in ask.subjects:
                self._account(subject.name, now_us).leases[ask.lease] = now_us + ask.lease_us

    def _account(self, name: str, now_us: int) -> _Account:
        account = self._accounts.setdefault(name, _Account())
        account.prune(now_us)
        return account


def _lasts(wait: Wait) -> float:
    return float("inf") if wait[3] < 0 else wait[3]


def _interval_us(quota: Quota) -> int:
    return max(1, MINUTE_US // quota.requests_per_minute)


def _waits(account: _Account, one: Subject, ask: Ask, now_us: int) -> Iterator[Wait]:
    """Give what stands in the way."""
    quota = one.quota
    if quota.concurrent_requests and len(account.leases) >= quota.concurrent_requests:
        yield "concurrency", one.name, quota.concurrent_requests, 1_000_000
    if limit := quota.requests_per_minute:
        interval_us = _interval_us(quota)
        over_us = max(account.free_at_us - now_us, 0) + interval_us - interval_us * limit
        if over_us > 0:
            yield "requests", one.name, limit, over_us
    if limit := quota.tokens_per_hour:
        used = sum(account.buckets.values())
        missing = used + ask.tokens - limit
        if ask.tokens > limit and ask.need > limit:
            yield "tokens", one.name, limit, -1
        elif ask.tokens > limit:  # alone in an hour, or not at all
            if used > 0:
                yield "tokens", one.name, limit, account.wait_us(used, now_us)
        elif missing > 0:
            yield "tokens", one.name, limit, account.wait_us(missing, now_us)


def _room(account: _Account, quota: Quota, ask: Ask) -> int:
    """Tell how many of the wished tokens there are."""
    left = quota.tokens_per_hour - sum(account.buckets.values())
    return min(ask.wish, left) if quota.tokens_per_hour else ask.wish


def _take(account: _Account, quota: Quota, ask: Ask, now_us: int, tokens: int) -> None:
    if ask.lease_us:
        account.leases[ask.lease] = now_us + ask.lease_us
    if quota.requests_per_minute:
        account.free_at_us = max(account.free_at_us, now_us) + _interval_us(quota)
    minute = now_us // MINUTE_US
    account.buckets[minute] = account.buckets.get(minute, 0) + tokens


def _requests_left(account: _Account, quota: Quota, now_us: int) -> Left | None:
    limit = quota.requests_per_minute
    if not limit:
        return None
    full_us = max(account.free_at_us - now_us, 0)
    interval_us = _interval_us(quota)
    return Left(limit, max(0, (interval_us * limit - full_us) // interval_us), full_us / 1e6)


def _tokens_left(account: _Account, quota: Quota, now_us: int) -> Left | None:
    limit = quota.tokens_per_hour
    if not limit:
        return None
    used = sum(account.buckets.values())
    reset_us = (now_us // MINUTE_US + KEPT_MINUTES) * MINUTE_US - now_us if used else 0
    return Left(limit, max(0, limit - used), reset_us / 1e6)


def _tightest(left: Iterable[Left | None]) -> Left | None:
    return min(filter(None, left), key=lambda one: one.remaining, default=None)
