"""The database: SQLite in the data folder, tuned for many processes, or PostgreSQL by URL."""

import sqlite3
from pathlib import Path
from typing import Any

import dj_database_url

# Source: sqlite.org/pragma.html. With WAL, NORMAL loses no consistency, at most the last
# transactions at a power cut; readers never wait for the writer.
SQLITE_PRAGMAS = (
    "PRAGMA journal_mode=WAL;"
    "PRAGMA synchronous=NORMAL;"
    "PRAGMA temp_store=MEMORY;"
    "PRAGMA mmap_size=134217728;"
    "PRAGMA cache_size=-16000;"
    "PRAGMA journal_size_limit=67108864;"
)
SQLITE_TIMEOUT_S = 20
POOL = {"min_size": 1, "max_size": 10, "timeout": 10, "max_lifetime": 1800}
SCHEMES = ("postgres", "postgresql", "sqlite")


def sqlite(file: Path) -> dict[str, Any]:
    """IMMEDIATE: a transaction takes the write lock when it begins, so it can wait for it."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": file,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": SQLITE_TIMEOUT_S,
            "init_command": SQLITE_PRAGMAS,
        },
    }


def postgresql(url: str) -> dict[str, Any]:
    """Use psycopg's pool: under ASGI Django reuses no connection by itself."""
    found = dj_database_url.parse(url, conn_max_age=0, conn_health_checks=True)
    return {**found, "OPTIONS": {**found.get("OPTIONS", {}), "pool": POOL}}


def hold_open(database: dict[str, Any]) -> sqlite3.Connection | None:
    """Keep one connection for the life of the process; None with PostgreSQL.

    SQLite makes its -wal and -shm files anew after the last connection has closed, which a full disk
    refuses: without this even reading would fail then.
    """
    if "sqlite3" not in database["ENGINE"]:
        return None
    try:
        held = sqlite3.connect(database["NAME"], check_same_thread=False)
        held.execute("SELECT name FROM sqlite_master LIMIT 1").fetchall()
    except sqlite3.Error:  # each request will say why
        return None
    return held


def from_url(url: str, data: Path) -> dict[str, Any]:
    if not url:
        return sqlite(data / "hub.sqlite3")
    if url.startswith("sqlite:"):
        return sqlite(Path(url.removeprefix("sqlite:").replace("///", "/", 1)))
    return postgresql(url)
