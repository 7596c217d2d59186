"""Fixtures for all tests: one embedded Redis for the run, a data folder that goes away."""

import os
import subprocess
from collections.abc import Iterator

import pytest
from django.conf import settings
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from accounts import last_use
from hub.supervisor import valkey
from tests.settings import remove_data

# A busy machine is slow, which says nothing of the code.
hypothesis_settings.register_profile(
    "hub", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("hub")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Start the embedded Redis at the address that the settings name."""
    socket = settings.HUB_RUNTIME / "valkey.sock"
    log = (settings.HUB_DATA / "valkey.log").open("wb")
    with log, subprocess.Popen(valkey.command(socket, settings.HUB_DATA), stderr=log) as server:
        try:
            valkey.wait_ready(settings.HUB_REDIS_URL, server)
            yield settings.HUB_REDIS_URL
        finally:
            server.kill()


@pytest.fixture(autouse=True)
def _no_late_writes() -> Iterator[None]:
    """Stop the timer that writes when keys were last used: its database would be gone."""
    yield
    last_use.drop()


def pytest_unconfigure() -> None:
    """Remove the data folder once everything that lived in it has ended."""
    if "AI_HUB_TEST_OWNER" in os.environ:
        remove_data()
