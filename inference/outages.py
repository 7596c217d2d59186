"""What a failed write or a lost service means to who asked: full disk, read-only data, busy, away.

Used by every place that turns exceptions into answers; everything else stays an unexpected error.
"""

import errno

import redis
from django.db.utils import InterfaceError, InternalError, OperationalError

from inference.errors import DiskFull, HubError, Unavailable

RETRY_AFTER_S = 2.0
SLOW_RETRY_AFTER_S = 30.0  # until an operator has done something
FULL = "the hub's disk is full; nothing was changed. Free space and try again"
READ_ONLY = "the hub's data cannot be written (read-only); nothing was changed"
FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT})
READ_ONLY_ERRORS = frozenset({errno.EROFS})
# Source: sqlite.org/rescode.html; postgresql.org/docs/current/errcodes-appendix.html
FULL_CODES = frozenset({"SQLITE_FULL", "53100"})
READ_ONLY_CODES = ("SQLITE_READONLY", "25006")
BUSY_CODES = ("SQLITE_BUSY", "SQLITE_LOCKED", "40001", "40P01", "53300", "55P03")


def of(error: BaseException) -> HubError | None:
    """Give the error to tell, or None where this is no outage."""
    if isinstance(error, OperationalError | InternalError | InterfaceError):
        return _of_database(error)
    if isinstance(error, redis.RedisError | ConnectionError):
        return Unavailable("a service is away; try again", retry_after_s=RETRY_AFTER_S)
    if isinstance(error, OSError):
        return _of_file(error)
    return None


def _of_database(error: BaseException) -> HubError:
    code = _code(error)
    if code in FULL_CODES:
        return DiskFull(FULL)
    if code.startswith(READ_ONLY_CODES):
        return Unavailable(READ_ONLY, retry_after_s=SLOW_RETRY_AFTER_S)
    if code.startswith(BUSY_CODES):
        return Unavailable("the database is busy; try again", retry_after_s=RETRY_AFTER_S)
    if code.startswith("SQLITE_IOERR"):
        return DiskFull(f"{FULL} (or the disk has an error)")
    return Unavailable("the database is away; try again", retry_after_s=RETRY_AFTER_S)


def _code(error: BaseException) -> str:
    """Give SQLite's name or PostgreSQL's state of the driver's own error behind Django's."""
    cause = error.__cause__
    found = getattr(cause, "sqlite_errorname", None) or getattr(cause, "sqlstate", None)
    return str(found or "")


def _of_file(error: OSError) -> HubError | None:
    if error.errno in FULL_ERRORS:
        return DiskFull(FULL)
    if error.errno in READ_ONLY_ERRORS:
        return Unavailable(READ_ONLY, retry_after_s=SLOW_RETRY_AFTER_S)
    return None
