"""A Redis that hangs (stopped, not ended): nobody but its watcher waits for it, and all heals."""

import asyncio
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts import authentication, connections, limits, limits_redis
from accounts.limits_local import LocalLedger
from accounts.principals import Principal
from hub.config import HubConfig, RateLimits
from hub.supervisor import valkey as server

DEV = Principal(user_id=1, username="dev", role="developer", scopes=frozenset())
FOR_EVER_S = 600.0


@pytest.fixture
def hung(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator["subprocess.Popen[bytes]"]:
    """A Valkey of the test's own; requests themselves would wait for it for ever."""
    monkeypatch.setattr(connections, "BUSY_S", FOR_EVER_S)
    settings.HUB_CONFIG = HubConfig(rate_limits=RateLimits(concurrent_requests=99))
    folder: Path = tmp_path_factory.mktemp("v")
    settings.HUB_REDIS_URL = f"unix://{folder}/s"
    authentication.forget()
    with subprocess.Popen(server.command(folder / "s", folder)) as process:
        server.wait_ready(settings.HUB_REDIS_URL, process)
        yield process
        process.kill()


async def ledger_of_a_request() -> limits.Ledger:
    lease = await limits.admit(DEV, "m", 0)
    await lease.release()
    return lease.ledger


@pytest.mark.django_db
async def test_who_waits_goes_on_and_nobody_else_waits(
    hung: "subprocess.Popen[bytes]", caplog: pytest.LogCaptureFixture
) -> None:
    assert await ledger_of_a_request() is limits_redis
    hung.send_signal(signal.SIGSTOP)
    async with asyncio.timeout(60):
        asked = await asyncio.gather(*(ledger_of_a_request() for _ in range(50)))
    assert all(isinstance(one, LocalLedger) for one in asked)
    with pytest.raises(connections.NotAsked):
        async with connections.on_loop():
            pass
    with pytest.raises(connections.NotAsked), connections.in_thread():
        pass
    assert [r.exc_info for r in caplog.records if "Redis is away" in r.message] == [None]


@pytest.mark.django_db
async def test_it_counts_in_redis_again_once_that_goes_on(hung: "subprocess.Popen[bytes]") -> None:
    hung.send_signal(signal.SIGSTOP)
    async with asyncio.timeout(60):
        assert isinstance(await ledger_of_a_request(), LocalLedger)
        hung.send_signal(signal.SIGCONT)
        while await ledger_of_a_request() is not limits_redis:
            await asyncio.to_thread(connections.blocking().ping)
