"""Calls that use no model, lists, files and management, count with requests per minute too."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from django.test import Client
from pytest_django import Settings

from accounts import keys, limits, quota
from accounts.limits import LimitReached, admit
from accounts.models import Limit, User
from accounts.principals import Principal
from hub.config import HubConfig, RateLimits
from tests.accounts.conftest import MakeUser, session_of

pytestmark = pytest.mark.django_db(transaction=True)  # limits are read by another thread
DEV = Principal(user_id=1, username="dev", role="developer", scopes=frozenset())
KEY = Principal(user_id=1, username="dev", role="developer", scopes=frozenset(), counted_key="k1")
Allow = Callable[..., None]


@pytest.fixture(name="allow")
def _allow(settings: Settings) -> Allow:
    """Set `rate_limits`; what is not named has no limit."""

    def allow(**given: int) -> None:
        none = dict.fromkeys(("requests_per_minute", "tokens_per_hour", "concurrent_requests"))
        limits = msgspec.convert(none | given, RateLimits)
        settings.HUB_CONFIG = HubConfig(rate_limits=limits)

    return allow


async def counted(tries: int, who: Principal = DEV) -> list[dict[str, str]]:
    """Half of them on the event loop, half from threads; give the headers of those that passed."""
    loop = [limits.count(who) for _ in range(tries // 2)]
    threads = [asyncio.to_thread(limits.count_now, who) for _ in range(tries - tries // 2)]
    answers = await asyncio.gather(*loop, *threads, return_exceptions=True)
    assert all(isinstance(one, dict | LimitReached) for one in answers)
    return [one for one in answers if isinstance(one, dict)]


async def test_exactly_the_limit_passes_of_a_hundred_at_once(allow: Allow) -> None:
    allow(requests_per_minute=3)
    passed = await counted(100)
    assert sorted(one["x-ratelimit-remaining-requests"] for one in passed) == ["0", "1", "2"]
    with pytest.raises(LimitReached, match="3 requests per minute of this user") as reached:
        await limits.count(DEV)
    assert reached.value.headers()["x-ratelimit-remaining-requests"] == "0"


async def test_they_count_with_requests_to_models(allow: Allow) -> None:
    allow(requests_per_minute=3)
    assert len(await counted(2, KEY)) == 2
    await (await admit(KEY, "m", 0)).release()
    for ask in (limits.count(KEY), admit(KEY, "m", 0)):
        with pytest.raises(LimitReached):
            await ask


async def test_they_take_no_place_and_no_tokens(allow: Allow) -> None:
    allow(requests_per_minute=100, tokens_per_hour=10, concurrent_requests=1)
    assert len(await counted(10)) == 10
    lease = await admit(DEV, "m", 10)
    assert len(await counted(10)) == 10
    with pytest.raises(LimitReached, match=r"at the same time|tokens per hour"):
        await admit(DEV, "m", 1)
    await lease.release()
    await admit(DEV, "m", 10)


async def test_nobody_asks_redis_where_there_is_no_limit(allow: Allow) -> None:
    allow()
    assert await counted(2) == [{}, {}]


# --- the management API ---------------------------------------------------------------------------


@pytest.fixture(name="ann")
def _ann(person: MakeUser) -> User:
    return person("ann")


def with_key(user: User) -> Client:
    _, key = keys.issue(user, "k", ["models:read"], by=session_of(user))
    return Client(headers={"x-api-key": key})


def limit(subject: str, **given: int) -> None:
    Limit.objects.create(subject=subject, **given)
    quota.forget()


@pytest.mark.parametrize(
    ("whose", "told"), [("user", "key"), ("team", "team"), ("key", "key")]
)  # a key has its user's limits
@pytest.mark.usefixtures("redis_url")
def test_management_calls_count_and_say_so(ann: User, whose: str, told: str) -> None:
    client = with_key(ann)
    key = ann.api_keys.get().public_id
    subject = {"user": f"user:{ann.pk}", "team": f"team:{ann.team_id}", "key": f"key:{key}"}[whose]
    limit(subject, requests_per_minute=2)
    left = [call(client)["x-ratelimit-remaining-requests"] for _ in range(2)]
    assert left == ["1", "0"]
    refused = call(client)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert f"2 requests per minute of this {told}" in refused.json()["error"]["message"]
    assert refused["x-ratelimit-limit-requests"] == "2"
    assert int(refused["retry-after"]) > 1


def call(client: Client) -> Any:
    return client.get("/api/v1/me")


@pytest.mark.usefixtures("redis_url")
def test_pages_do_not_count(ann: User, client: Client) -> None:
    """Whoever has used up their requests still sees why, and may change it."""
    client.force_login(ann)
    limit(f"user:{ann.pk}", requests_per_minute=1)
    for _ in range(3):
        assert client.get("/account/").status_code == 200
    assert call(client).status_code == 200
    assert call(client).status_code == 429
