"""The same limits inside one process, for as long as Redis is away. Pure but for the clock.

Each web process then counts for itself: with N processes a limit holds N times over.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from accounts.ledgers import Ask, Denied, Granted, Left, Settlement
from accounts.quota import Quota

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

    def wait_s(self, missing: int, now_us: int) -> float | None:
        for minute in sorted(self.buckets):
            missing -= self.buckets[minute]
            if missing <= 0:
                return ((minute + KEPT_MINUTES) * MINUTE_US - now_us) / 1e6
        return None


class LocalLedger:
    """Counts like the scripts in lua/; calls come from one event loop, so nothing is locked."""

    def __init__(self, clock_us: Callable[[], int] = _wall_us) -> None:
        self._clock_us = clock_us
        self._accounts: dict[str, _Account] = {}

    async def admit(self, ask: Ask) -> Granted | Denied:
        now_us = ask.now_us or self._clock_us()
        accounts = [self._accounts.setdefault(one.name, _Account()) for one in ask.subjects]
        for subject, account in zip(ask.subjects, accounts, strict=True):
            account.prune(now_us)
            if denied := _check(account, subject.quota, ask, now_us):
                return denied
        for subject, account in zip(ask.subjects, accounts, strict=True):
            _take(account, subject.quota, ask, now_us)
        return Granted(
            now_us // MINUTE_US,
            requests=_tightest(
                _requests_left(account, one.quota, now_us)
                for one, account in zip(ask.subjects, accounts, strict=True)
            ),
            tokens=_tightest(
                _tokens_left(account, one.quota, now_us)
                for one, account in zip(ask.subjects, accounts, strict=True)
            ),
        )

    async def settle(self, end: Settlement) -> None:
        now_us = end.now_us or self._clock_us()
        for subject in end.ask.subjects:
            account = self._accounts.setdefault(subject.name, _Account())
            account.prune(now_us)
            account.leases.pop(end.ask.lease, None)
            if account.buckets.get(end.minute, 0) >= end.ask.tokens:
                account.buckets[end.minute] = account.buckets.get(end.minute, 0) - end.ask.tokens
            minute = now_us // MINUTE_US
            account.buckets[minute] = account.buckets.get(minute, 0) + end.used

    async def renew(self, asks: Sequence[Ask]) -> None:
        for ask in asks:
            for subject in ask.subjects:
                leases = self._accounts.setdefault(subject.name, _Account()).leases
                leases[ask.lease] = self._clock_us() + ask.lease_us


def _interval_us(quota: Quota) -> int:
    return max(1, MINUTE_US // quota.requests_per_minute)


def _check(account: _Account, quota: Quota, ask: Ask, now_us: int) -> Denied | None:
    if quota.concurrent_requests and len(account.leases) >= quota.concurrent_requests:
        return Denied("concurrency", Left(quota.concurrent_requests, 0, 0.0), 1.0)
    if quota.requests_per_minute:
        interval_us = _interval_us(quota)
        ahead_us = max(account.free_at_us, now_us) + interval_us - now_us
        over_us = ahead_us - interval_us * quota.requests_per_minute
        if over_us > 0:
            full_s = (ahead_us - interval_us) / 1e6
            return Denied("requests", Left(quota.requests_per_minute, 0, full_s), over_us / 1e6)
    if quota.tokens_per_hour:
        left = _tokens_left(account, quota, now_us)
        if left is not None and ask.tokens > left.remaining:
            never = ask.tokens > left.limit
            missing = ask.tokens - left.remaining
            return Denied("tokens", left, None if never else account.wait_s(missing, now_us))
    return None


def _take(account: _Account, quota: Quota, ask: Ask, now_us: int) -> None:
    account.leases[ask.lease] = now_us + ask.lease_us
    if quota.requests_per_minute:
        account.free_at_us = max(account.free_at_us, now_us) + _interval_us(quota)
    minute = now_us // MINUTE_US
    account.buckets[minute] = account.buckets.get(minute, 0) + ask.tokens


def _requests_left(account: _Account, quota: Quota, now_us: int) -> Left | None:
    limit = quota.requests_per_minute
    if not limit:
        return None
    full_us = account.free_at_us - now_us
    interval_us = _interval_us(quota)
    return Left(limit, (interval_us * limit - full_us) // interval_us, full_us / 1e6)


def _tokens_left(account: _Account, quota: Quota, now_us: int) -> Left | None:
    limit = quota.tokens_per_hour
    if not limit:
        return None
    used = sum(account.buckets.values())
    reset_us = (now_us // MINUTE_US + KEPT_MINUTES) * MINUTE_US - now_us if used else 0
    return Left(limit, limit - used, reset_us / 1e6)


def _tightest(left: Iterable[Left | None]) -> Left | None:
    return min(filter(None, left), key=lambda one: one.remaining, default=None)
