"""Fixtures for all tests: one embedded Redis for the run, a data folder that goes away."""

import os
import subprocess
from collections.abc import Iterator

import pytest
from django.conf import settings
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from pytest_django import Settings

from accounts import addresses, last_use, ledger, notices, quota
from hub.supervisor import valkey
from inference import catalog
from tests.inference.node import nodes
from tests.settings import remove_data

# A busy machine is slow, which says nothing of the code.
hypothesis_settings.register_profile(
    "hub", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("hub")


@pytest.hookimpl(tryfirst=True)  # before the workers' own, which reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep together what shares an expensive fixture: a file, or all that needs the browser."""
    for item in items:
        folder = item.path.parent
        group = folder if folder.name == "e2e" else item.path
        item.add_marker(pytest.mark.xdist_group(str(group)))


@pytest.fixture(scope="session")
def django_db_modify_db_settings(request: pytest.FixtureRequest) -> None:
    """Each worker has a data folder of its own already, and so a database that is a file."""
    if settings.DATABASES["default"]["ENGINE"].rpartition(".")[2] != "sqlite3":
        request.getfixturevalue("django_db_modify_db_settings_parallel_suffix")


@pytest.fixture(autouse=True)
def _forgotten_names() -> None:
    """Rows that a test makes by itself tell nobody: what an earlier one read is not theirs."""
    catalog._store.forget()


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


@pytest.fixture(scope="session")
def node_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real node without models, for pages that show its state."""
    running = nodes.start(tmp_path_factory.mktemp("node"))
    yield f"unix:{running.path}"
    nodes.stop(running)


@pytest.fixture
def idle_node(node_address: str, settings: Settings) -> None:
    """There is a node: a page that finds none waits for it to start."""
    settings.HUB_NODE_ADDRESS = node_address


@pytest.fixture(autouse=True)
def _no_late_writes() -> Iterator[None]:
    """Stop what writes a little later, and forget what was read: its database would be gone."""
    yield
    last_use.drop()
    notices.drop()
    addresses.drop()
    ledger.drop()
    quota.forget()


def pytest_unconfigure() -> None:
    """Remove the data folder once everything that lived in it has ended."""
    if "AI_HUB_TEST_OWNER" in os.environ:
        remove_data()
