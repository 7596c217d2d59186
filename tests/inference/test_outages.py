"""What a real database error means is told; mistakes of the code stay mistakes."""

import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from django.db.utils import IntegrityError, OperationalError

from inference import outages
from inference.errors import DiskFull, Unavailable


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    opened = sqlite3.connect(tmp_path / "some.sqlite3", timeout=0)
    opened.execute("CREATE TABLE words (word TEXT)")
    yield opened
    opened.close()


def raised(database: sqlite3.Connection, *statements: str) -> OperationalError:
    """Give what Django would raise for the driver's own error."""
    *before, last = statements
    for statement in before:
        database.execute(statement)
    with pytest.raises(sqlite3.OperationalError) as caught:
        database.execute(last)
    error = OperationalError(*caught.value.args)
    error.__cause__ = caught.value
    return error


def test_a_full_database_is_a_full_disk(database: sqlite3.Connection) -> None:
    error = raised(
        database,
        "PRAGMA max_page_count = 3",
        "INSERT INTO words SELECT hex(randomblob(100000))",
    )
    assert isinstance(outages.of(error), DiskFull)


def test_a_read_only_database_says_so(database: sqlite3.Connection) -> None:
    error = raised(database, "PRAGMA query_only = 1", "INSERT INTO words VALUES ('x')")
    found = outages.of(error)
    assert isinstance(found, Unavailable)
    assert "read-only" in found.message


def test_a_locked_database_is_busy(database: sqlite3.Connection, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "some.sqlite3", timeout=0, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    found = outages.of(raised(database, "INSERT INTO words VALUES ('x')"))
    other.close()
    assert isinstance(found, Unavailable)
    assert "busy" in found.message
    assert found.retry_after_s


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), DiskFull),
        (OSError(errno.EROFS, "Read-only file system"), Unavailable),
        (OperationalError("connection refused"), Unavailable),
        (redis.ConnectionError("gone"), Unavailable),
        (OSError(errno.ENOENT, "No such file"), type(None)),
        (IntegrityError("UNIQUE constraint failed"), type(None)),
        (ValueError("a mistake"), type(None)),
    ],
)
def test_it_tells_outages_from_mistakes(error: Exception, kind: type) -> None:
    assert isinstance(outages.of(error), kind)
