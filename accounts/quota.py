"""How much each subject may ask for: `rate_limits` of config/hub.json, under rows that are edited live.

All rows are held in memory and read again when the epoch changes, so that a request makes no query.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, close_old_connections

from accounts import epoch
from accounts.models import Limit
from accounts.models.limits import COUNTED
from accounts.principals import Principal

logger = logging.getLogger(__name__)

EVERYONE = "everyone"
KINDS = COUNTED


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits; 0 means none."""

    requests_per_minute: int = 0
    tokens_per_hour: int = 0
    concurrent_requests: int = 0

    def __bool__(self) -> bool:
        return bool(self.requests_per_minute or self.tokens_per_hour or self.concurrent_requests)


@dataclass(frozen=True, slots=True)
class Subject:
    """Who is counted: a key, a user, a team or a model; `budget`: somebody gave it tokens."""

    name: str
    quota: Quota
    budget: bool = False


Row = Mapping[str, int | None]  # by kind; None: not said here


@dataclass(frozen=True, slots=True)
class _Rows:
    stamp: epoch.Stamp | None = None
    by_subject: dict[str, Row] = field(default_factory=dict)


_NONE: Row = {}
_held = _Rows()


async def refresh() -> None:
    """Read the rows again if they may have changed."""
    if not _is_fresh():
        await _read_in_thread()


def refresh_now() -> None:
    """Do the same from a thread."""
    if not _is_fresh():
        _read()


def forget() -> None:
    """Read the rows at the next request."""
    global _held  # noqa: PLW0603
    _held = _Rows()


def subjects_of(principal: Principal, model: str = "") -> tuple[Subject, ...]:
    """Return who a request is counted for, as the rows were at the last `refresh`.

    The key and its owner each have the owner's limits, unless they have their own; with
    `per_user_limits: false` each key stands alone. A token counts for the key that it came from, or
    for its user alone. A team or a model only has what a row gives it.
    """
    rows, user_name = _held.by_subject, f"user:{principal.user_id}"
    usual, alone = _usual(principal, rows.get(EVERYONE, _NONE))
    row = rows.get(user_name)
    user = _subject(user_name, row or _NONE, usual)
    key = principal.counted_key and f"key:{principal.counted_key}"
    found = [_subject(key, rows.get(key, _NONE), user.quota)] if key else []
    if not (key and alone and row is None):
        found.append(user)
    names = (principal.team_id and f"team:{principal.team_id}", model and f"model:{model}")
    found += [_subject(name, rows[name], Quota()) for name in names if name and name in rows]
    return tuple(found)


def subject_of_model(model: str) -> tuple[Subject, ...]:
    """Return a model as the only one that is counted; nothing where no row limits it."""
    name = f"model:{model}"
    row = _held.by_subject.get(name)
    return (_subject(name, row, Quota()),) if row else ()


def _usual(principal: Principal, everyone: Row) -> tuple[Quota, bool]:
    """Give a user's limits where no row is about them, and whether each key stands alone."""
    limits = settings.HUB_CONFIG.rate_limits
    usual = _over(everyone, Quota(**{kind: getattr(limits, kind) or 0 for kind in KINDS}))
    own = limits.per_user_limits
    if isinstance(own, dict) and principal.username in own:
        mine = own[principal.username]
        usual = _over({kind: getattr(mine, kind) or None for kind in KINDS}, usual)
    return usual, own is False


def _subject(name: str, row: Row, under: Quota) -> Subject:
    return Subject(name, _over(row, under), budget=bool(row.get("tokens_per_hour")))


def _over(row: Row, under: Quota) -> Quota:
    if not row:
        return under
    values = {kind: row.get(kind) for kind in KINDS}
    return Quota(**{k: getattr(under, k) if v is None else v for k, v in values.items()})


def _is_fresh() -> bool:
    return _held.stamp is not None and epoch.holds(_held.stamp)


@sync_to_async
def _read_in_thread() -> None:
    close_old_connections()
    try:
        _read()
    finally:
        close_old_connections()


def _read() -> None:
    """While the database is away what was read last holds on; nobody new passes the door then."""
    global _held  # noqa: PLW0603
    if _is_fresh():
        return
    stamp = epoch.stamp()
    try:
        rows = {row["subject"]: row for row in Limit.objects.values("subject", *KINDS)}
    except DatabaseError:
        logger.warning("limits could not be read again; the last ones hold on")
        rows = _held.by_subject
    _held = _Rows(stamp, rows)
