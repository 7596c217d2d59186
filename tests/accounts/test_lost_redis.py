"""Redis is killed: each process counts its share for a while, then budgets are closed; and it comes back."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from asgiref.sync import sync_to_async
from pytest_django import Settings

from accounts import authentication, connections, limits, limits_redis, quota, shares
from accounts.limits import Closed, LimitReached, admit
from accounts.models import Limit
from accounts.principals import Principal
from hub.config import HubConfig, Limits, RateLimits
from hub.supervisor import valkey as server

pytestmark = pytest.mark.django_db(transaction=True)  # limits are read by another thread
DEV = Principal(user_id=1, username="dev", role="developer", scopes=frozenset())
RICH = Principal(user_id=2, username="rich", role="developer", scopes=frozenset())
Start = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Start]:
    """Start a Valkey of the test's own, at the same address each time."""
    settings.HUB_CONFIG = HubConfig(rate_limits=RateLimits(concurrent_requests=9))
    monkeypatch.setattr(shares, "_seen", 1)
    folder: Path = tmp_path_factory.mktemp("v")
    settings.HUB_REDIS_URL = f"unix://{folder}/s"
    authentication.forget()
    Limit.objects.create(subject="user:2", tokens_per_hour=1000)
    quota.forget()
    started: list[subprocess.Popen[bytes]] = []

    def start() -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(server.command(folder / "s", folder))
        started.append(process)
        server.wait_ready(settings.HUB_REDIS_URL, process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def kill(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()


async def places(who: Principal, tries: int) -> list[limits.Lease]:
    found = []
    for _ in range(tries):
        try:
            found.append(await admit(who, "m", 0))
        except LimitReached:
            break
    return found


async def test_it_counts_its_share(start: Start) -> None:
    process = start()
    shares.say()
    assert shares.processes() == 1
    with connections.in_thread() as client:
        client.zadd(shares.REDIS_KEY, {"one": 2e10, "two": 2e10})
    shares.say()
    assert shares.processes() == 3
    assert len(await places(DEV, 20)) == 9
    other = Principal(user_id=3, username="other", role="developer", scopes=frozenset())
    kill(process)
    assert len(await places(other, 20)) == 3


async def test_places_that_redis_gave_still_count(start: Start) -> None:
    process = start()
    held = await places(DEV, 7)
    kill(process)
    assert len(await places(DEV, 20)) == 2
    await held[0].release()
    assert len(await places(DEV, 20)) == 1


async def test_a_budget_is_closed_after_a_while(start: Start, settings: Settings) -> None:
    process = start()
    settings.HUB_LIMITS_GRACE_S = 3600
    kill(process)
    assert await places(RICH, 1)
    settings.HUB_LIMITS_GRACE_S = -1  # as if the while was over
    with pytest.raises(Closed, match="has been away"):
        await admit(RICH, "m", 0)
    assert await places(DEV, 1)  # nobody gave this one a budget


async def test_it_counts_in_redis_again(start: Start, settings: Settings) -> None:
    kill(start())
    assert (await admit(DEV, "m", 0)).ledger is not limits_redis
    start()
    presence = connections._presence()
    presence.suspect()
    while presence.away:
        presence._woken.wait(0.01)
    lease = await admit(DEV, "m", 0)
    assert lease.ledger is limits_redis
    with redis.Redis.from_url(settings.HUB_REDIS_URL) as client:
        assert client.zcard("hub:limits:user:1:leases") == 1


async def test_calls_without_a_model_count_this_process_share(
    start: Start, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start()
    settings.HUB_CONFIG = HubConfig(rate_limits=RateLimits(requests_per_minute=9))
    monkeypatch.setattr(shares, "_seen", 3)
    kill(process)
    for _ in range(3):
        await limits.count(DEV)
        await asyncio.to_thread(limits.count_now, DEV)
    with pytest.raises(LimitReached):
        await limits.count(DEV)
    with pytest.raises(LimitReached):
        await asyncio.to_thread(limits.count_now, DEV)


# --- whose budget is closed -----------------------------------------------------------------------

POOR = Principal(user_id=4, username="poor", role="developer", scopes=frozenset(), counted_key="k4")


async def closed(who: Principal, model: str = "m", base: str = "") -> bool:
    try:
        await (await admit(who, model, 0, base=base)).release()
    except Closed:
        return True
    return False


@pytest.fixture(name="after_a_while")
def _after_a_while(start: Start, settings: Settings) -> None:
    kill(start())
    settings.HUB_LIMITS_GRACE_S = -1


def limit(subject: str, **given: int) -> None:
    Limit.objects.create(subject=subject, **given)
    quota.forget()


@pytest.mark.usefixtures("after_a_while")
async def test_a_budget_that_everyone_was_given_is_closed_too() -> None:
    assert not await closed(POOR)
    await sync_to_async(limit)("everyone", tokens_per_hour=500)
    assert await closed(POOR)
    await sync_to_async(limit)("user:4", tokens_per_hour=0)  # this one has no limit of tokens
    assert not await closed(POOR)


@pytest.mark.usefixtures("after_a_while")
@pytest.mark.parametrize(
    "given",
    [
        {"tokens_per_hour": 500},
        {"tokens_per_hour": 500, "per_user_limits": False},
        {"per_user_limits": {"poor": Limits(tokens_per_hour=500)}},
    ],
    ids=["everyone", "each key", "by name"],
)
async def test_a_budget_of_the_file_is_closed_too(settings: Settings, given: Any) -> None:
    settings.HUB_CONFIG = HubConfig(rate_limits=RateLimits(**given))
    assert await closed(POOR)


@pytest.mark.usefixtures("after_a_while")
@pytest.mark.parametrize("subject", ["user:4", "team:9", "model:m", "model:big"])
async def test_a_budget_of_whoever_stands_above_is_closed_too(subject: str) -> None:
    """A key inherits its user's, belongs to a team, and asks an adapter of a base."""
    await sync_to_async(limit)(subject, tokens_per_hour=500)
    assert await closed(replace(POOR, team_id=9), "m", "big")
    assert await closed(POOR, "other") is (subject == "user:4")


def test_the_guard_that_everybody_has_is_no_budget() -> None:
    assert RateLimits().tokens_per_hour == quota.USUAL_TOKENS_PER_HOUR
