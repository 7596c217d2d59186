"""Limits: exact under races, honest about what is left, safe when Redis is away."""

import asyncio
import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django import Settings

from accounts import limits, limits_local, limits_redis
from accounts.ledgers import Ask, Denied, Granted, Settlement
from accounts.limits import LimitReached, admit, duration
from accounts.principals import Principal
from accounts.quota import Quota, Subject, subjects_of
from hub.config import HubConfig, Limits, RateLimits

pytestmark = pytest.mark.django_db
DEV = Principal(user_id=1, username="dev", role="developer", scopes=frozenset())
KEY = Principal(user_id=1, username="dev", role="developer", scopes=frozenset(), counted_key="k1")
MINUTE_US = 60_000_000
NOON_US = 1_800_000_000 * 1_000_000

SetLimits = Callable[..., None]


@pytest.fixture
def allow(settings: Settings) -> SetLimits:
    """Set `rate_limits`; what is not named has no limit."""

    def allow(**given_: object) -> None:
        none = dict.fromkeys(("requests_per_minute", "tokens_per_hour", "concurrent_requests"))
        settings.HUB_CONFIG = HubConfig(rate_limits=RateLimits(**(none | given_)))  # type: ignore[arg-type]

    return allow


async def admitted(tries: int, who: Principal = DEV, tokens: int = 0) -> list[limits.Lease]:
    asks = (admit(who, "m", tokens) for _ in range(tries))
    answers = await asyncio.gather(*asks, return_exceptions=True)
    assert all(isinstance(one, limits.Lease | LimitReached) for one in answers)
    return [one for one in answers if isinstance(one, limits.Lease)]


class TestRequestsPerMinute:
    async def test_it_admits_exactly_the_limit_of_a_hundred_at_once(self, allow: SetLimits) -> None:
        allow(requests_per_minute=3)  # the next one flows in after 20 s
        assert len(await admitted(100)) == 3

    async def test_it_stays_exact_under_a_flood(
        self, allow: SetLimits, caplog: pytest.LogCaptureFixture
    ) -> None:
        allow(concurrent_requests=10)
        assert len(await admitted(1000)) == 10
        assert "Redis is away" not in caplog.text

    async def test_it_says_when_to_come_back(self, allow: SetLimits) -> None:
        allow(requests_per_minute=1)
        await admit(DEV, "m", 0)
        with pytest.raises(LimitReached, match="1 requests per minute") as reached:
            await admit(DEV, "m", 0)
        assert reached.value.kind == "requests"
        assert reached.value.retry_after_s == pytest.approx(60, abs=5)

    async def test_it_is_not_given_back_by_release(self, allow: SetLimits) -> None:
        allow(requests_per_minute=1)
        await (await admit(DEV, "m", 0)).release()
        assert not await admitted(1)


class TestTokensPerHour:
    async def test_it_reserves_before_it_settles(self, allow: SetLimits) -> None:
        allow(tokens_per_hour=100)
        first = await admit(DEV, "m", 80)
        assert not await admitted(1, tokens=30)
        await first.settle(10)
        second = await admit(DEV, "m", 90)
        assert second.headers()["x-ratelimit-remaining-tokens"] == "0"

    async def test_it_counts_more_than_was_reserved(self, allow: SetLimits) -> None:
        allow(tokens_per_hour=100)
        await (await admit(DEV, "m", 10)).settle(100)
        with pytest.raises(LimitReached) as reached:
            await admit(DEV, "m", 1)
        assert reached.value.kind == "tokens"
        assert 3600 <= (reached.value.retry_after_s or 0) <= 3660

    async def test_it_gives_all_back_when_nothing_was_used(self, allow: SetLimits) -> None:
        allow(tokens_per_hour=100)
        for _ in range(5):
            await (await admit(DEV, "m", 100)).release()

    async def test_it_says_that_waiting_does_not_help(self, allow: SetLimits) -> None:
        allow(tokens_per_hour=100)
        with pytest.raises(LimitReached, match="alone") as reached:
            await admit(DEV, "m", 101)
        assert reached.value.never

    async def test_what_may_take_more_gets_what_is_left(self, allow: SetLimits) -> None:
        allow(tokens_per_hour=100)
        first = await admit(DEV, "m", 10, most=1000)
        assert first.granted.reserved == 100
        assert not await admitted(1, tokens=1)
        await first.settle(40)
        assert (await admit(DEV, "m", 10, most=50)).granted.reserved == 50

    async def test_what_is_over_the_limit_only_perhaps_goes_alone(self, allow: SetLimits) -> None:
        allow(tokens_per_hour=100)
        alone = await admit(DEV, "m", 300, most=300, least=70)
        assert alone.granted.reserved == 100
        await alone.settle(60)
        with pytest.raises(LimitReached) as reached:
            await admit(DEV, "m", 300, most=300, least=10)
        assert not reached.value.never

    async def test_it_is_exact_under_a_race(self, allow: SetLimits) -> None:
        allow(tokens_per_hour=1000)
        assert len(await admitted(100, tokens=30)) == 33


class TestConcurrency:
    async def test_it_frees_a_place_at_once(self, allow: SetLimits) -> None:
        allow(concurrent_requests=2)
        leases = await admitted(100)
        assert len(leases) == 2
        await leases[0].release()
        assert len(await admitted(100)) == 1

    async def test_it_ends_a_lease_only_once(self, allow: SetLimits) -> None:
        allow(tokens_per_hour=100)
        lease = await admit(DEV, "m", 100)
        await lease.settle(60)
        await lease.settle(60)
        await lease.release()
        assert len(await admitted(1, tokens=40)) == 1

    async def test_it_ends_even_where_the_caller_is_cancelled(self, allow: SetLimits) -> None:
        allow(concurrent_requests=1)
        started = asyncio.Event()

        async def request() -> None:
            lease = await admit(DEV, "m", 0)
            try:
                started.set()
                await asyncio.Event().wait()
            finally:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()  # the client leaves a second time, in the clean-up
                await lease.release()

        task = asyncio.create_task(request())
        await started.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await asyncio.gather(*limits._of_loop().ends)
        assert len(await admitted(1)) == 1

    async def test_it_takes_back_what_nobody_renews(self, allow: SetLimits, valkey: Any) -> None:
        allow(concurrent_requests=1)
        await admit(DEV, "m", 0)
        [name] = valkey.keys("hub:limits:*:leases")
        [(lease, ends)] = valkey.zrange(name, 0, -1, withscores=True)
        seconds, micros = valkey.time()
        assert 25 < (ends / 1e6 - seconds - micros / 1e6) <= limits.LEASE_S
        valkey.zadd(name, {lease: seconds * 1e6})  # as if 30 s had passed
        assert len(await admitted(1)) == 1

    async def test_it_renews_what_is_held(self, allow: SetLimits, valkey: Any) -> None:
        allow(concurrent_requests=1)
        await admit(KEY, "m", 0)
        names = valkey.keys("hub:limits:*:leases")
        for name in names:
            [(lease, _)] = valkey.zrange(name, 0, -1, withscores=True)
            valkey.zadd(name, {lease: 1})
        await limits.renew_all()
        assert not await admitted(1)
        assert len(names) == 2

    async def test_it_renews_nothing_that_was_given_back(
        self, allow: SetLimits, valkey: Any
    ) -> None:
        allow(concurrent_requests=1)
        lease = await admit(DEV, "m", 0)
        await lease.release()
        await limits_redis.renew([lease.ask])  # as if it had been under way already
        assert valkey.keys("hub:limits:*:leases") == []
        assert len(await admitted(1)) == 1


class TestWhoIsCounted:
    async def test_it_counts_a_user_over_all_keys(self, allow: SetLimits) -> None:
        allow(concurrent_requests=3)
        other = Principal(1, "dev", "developer", frozenset(), counted_key="k2")
        assert len(await admitted(2, KEY)) == 2
        assert len(await admitted(2, other)) == 1

    async def test_it_lets_each_key_stand_alone(self, allow: SetLimits) -> None:
        allow(concurrent_requests=3, per_user_limits=False)
        other = Principal(1, "dev", "developer", frozenset(), counted_key="k2")
        assert len(await admitted(5, KEY)) == 3
        assert len(await admitted(5, other)) == 3

    async def test_it_takes_a_users_own_limits(self, allow: SetLimits) -> None:
        own = {"dev": Limits(concurrent_requests=5)}
        allow(concurrent_requests=1, requests_per_minute=100, per_user_limits=own)
        assert len(await admitted(9, KEY)) == 5
        assert [one.quota.requests_per_minute for one in subjects_of(KEY)] == [100, 100]

    async def test_it_takes_nothing_when_it_refuses(self, allow: SetLimits) -> None:
        allow(requests_per_minute=100, tokens_per_hour=100)
        await admitted(20, tokens=101)
        lease = await admit(DEV, "m", 100)
        assert lease.headers()["x-ratelimit-remaining-requests"] == "99"


@contextlib.contextmanager
def racers(config: Path, tries: int, tokens: int) -> Iterator[list[subprocess.Popen[str]]]:
    environment = {
        "DJANGO_SETTINGS_MODULE": "hub.settings",
        "AI_HUB_REDIS_URL": django_settings.HUB_REDIS_URL,
        "AI_HUB_CONFIG": str(config),
        "AI_HUB_DATA": str(config.parent / "data"),
    }
    command = [sys.executable, "-m", "tests.accounts.racer", str(tries), str(tokens)]
    with contextlib.ExitStack() as stack:
        processes = []
        for _ in range(2):
            process = subprocess.Popen(
                command, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        yield processes


def run(processes: list[subprocess.Popen[str]]) -> int:
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    return sum(int(process.stdout.readline()) for process in processes if process.stdout)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ({"requests_per_minute": 3}, 3),
        ({"concurrent_requests": 7}, 7),
        ({"tokens_per_hour": 1000}, 40),
    ],
)
async def test_it_is_exact_over_two_processes(
    tmp_path: Path, limit: dict[str, int], expected: int
) -> None:
    config = tmp_path / "hub.json"
    config.write_text(json.dumps({"rate_limits": limit}))
    with racers(config, tries=100, tokens=25) as processes:
        assert await asyncio.to_thread(run, processes) == expected


class TestWithoutRedis:
    @pytest.fixture(autouse=True)
    def _away(self, away: None) -> None: ...

    async def test_it_counts_in_the_process(self, allow: SetLimits) -> None:
        allow(requests_per_minute=10, concurrent_requests=5, tokens_per_hour=1000)
        leases = await admitted(100, tokens=10)
        assert len(leases) == 5
        assert leases[-1].headers()["x-ratelimit-remaining-requests"] == "5"
        for lease in leases:
            await lease.settle(5)
        assert (await admit(DEV, "m", 0)).headers()["x-ratelimit-remaining-tokens"] == "975"

    async def test_it_settles_where_it_was_granted(
        self, allow: SetLimits, settings: Settings, redis_url: str
    ) -> None:
        allow(concurrent_requests=1)
        local = await admit(DEV, "m", 0)
        settings.HUB_REDIS_URL = redis_url
        assert len(await admitted(2)) == 1  # Redis knows nothing of the local one
        await local.release()
        assert not await admitted(1)


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0, "0ms"),
        (0.12, "120ms"),
        (0.0001, "1ms"),
        (1, "1s"),
        (1.5, "1.5s"),
        (59.2, "59.2s"),
        (360, "6m0s"),
        (61.01, "1m2s"),
        (3640, "1h0m40s"),
    ],
)
def test_it_writes_durations_as_openai_does(seconds: float, written: str) -> None:
    assert duration(seconds) == written


QUOTAS = st.builds(Quota, st.integers(0, 5), st.integers(0, 60), st.integers(0, 4))
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "end"]),
        st.tuples(st.integers(0, 70), st.integers(0, 90), st.none() | st.integers(0, 70)),
        st.sampled_from([0, 1, 1_000_000, 12_000_000, 31_000_000, MINUTE_US, 61 * MINUTE_US]),
    ),
    max_size=25,
)


@given(QUOTAS, QUOTAS, STEPS)
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_both_ledgers_agree(
    valkey: Any, key: Quota, user: Quota, steps: list[tuple[str, tuple[int, int, int | None], int]]
) -> None:
    """The scripts in Redis and the fall-back are two writings of one rule."""
    valkey.flushall()
    local = limits_local.LocalLedger()
    subjects = (Subject("key:k", key), Subject("user:1", user))
    now_us, held = NOON_US, list[tuple[Ask, int]]()
    for number, (step, (tokens, most, least), later_us) in enumerate(steps):
        now_us += later_us
        if step == "ask":
            ask = Ask(subjects, f"lease{number}", tokens, 30_000_000, now_us, most, least)
            answer = await limits_redis.admit(ask)
            assert answer == await local.admit(ask)
            if isinstance(answer, Granted):
                held.append((replace(ask, tokens=answer.reserved), answer.minute))
        elif held:
            end = Settlement(*held.pop(0), used=tokens, now_us=now_us)
            await limits_redis.settle(end)
            await local.settle(end)


@given(st.integers(1, 50), st.lists(st.integers(0, 20_000_000), min_size=1, max_size=60))
async def test_it_never_admits_more_than_the_rate(rate: int, gaps: list[int]) -> None:
    """In any window of a minute: at most the burst and what flowed in meanwhile."""
    ledger, now_us = limits_local.LocalLedger(), NOON_US
    subjects = (Subject("user:1", Quota(requests_per_minute=rate)),)
    times = []
    for number, gap in enumerate(gaps):
        now_us += gap
        ask = Ask(subjects, str(number), 0, 1, now_us)
        if not isinstance(await ledger.admit(ask), Denied):
            times.append(now_us)
    for start in times:
        assert sum(start <= one < start + MINUTE_US for one in times) <= 2 * rate
        assert sum(start <= one < start + 1_000_000 for one in times) <= rate + rate / 60 + 1
