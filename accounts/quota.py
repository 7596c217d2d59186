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
USUAL_TOKENS_PER_HOUR = 100_000_000  # what `rate_limits` says where nobody said anything


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
    """Who is counted: a key, a user, a team or a model; `budget`: somebody gave it or its user tokens."""

    name: str
    quota: Quota
    budget: bool = False


Row = Mapping[str, int | None]  # by kind; None: not said here


@dataclass(frozen=True, slots=True)
class _Rows:
    stamp: epoch.Stamp | None = None
    by_subject: dict[str, Row] = field(default_factory=dict)


_NONE: Row = {}
_NOBODY = Subject("", Quota())
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


def subjects_of(principal: Principal, model: str = "", base: str = "") -> tuple[Subject, ...]:
    """Return who a request is counted for, as the rows were at the last `refresh`.

    The key and its owner each have the owner's limits, unless they have their own; with
    `per_user_limits: false` each key stands alone. A token counts for the key that it came from, or
    for its user alone. A team or a model only has what a row gives it; what an adapter serves counts
    for its base too, whose machine it takes.
    """
    rows, user_name = _held.by_subject, f"user:{principal.user_id}"
    usual, alone = _usual(principal, rows.get(EVERYONE, _NONE))
    row = rows.get(user_name)
    user = _subject(user_name, row or _NONE, usual)
    key = principal.counted_key and f"key:{principal.counted_key}"
    found = [_subject(key, rows.get(key, _NONE), user)] if key else []
    if not (key and alone and row is None):
        found.append(user)
    team = f"team:{principal.team_id}"
    found += [_subject(team, rows[team], _NOBODY)] if team in rows else []
    return (*found, *subjects_of_models(model, base))


def subjects_of_call(principal: Principal) -> tuple[Subject, ...]:
    """Return who a call without a model is counted for: those with a limit of requests per minute."""
    return tuple(
        Subject(one.name, Quota(requests_per_minute=one.quota.requests_per_minute))
        for one in subjects_of(principal)
        if one.quota.requests_per_minute
    )


def subjects_of_models(*models: str) -> tuple[Subject, ...]:
    """Return models as those who are counted; the ones that no row limits are left out."""
    rows = _held.by_subject
    names = [f"model:{model}" for model in models]
    return tuple(_subject(name, rows[name], _NOBODY) for name in names if name in rows)


def _usual(principal: Principal, everyone: Row) -> tuple[Subject, bool]:
    """Give a user's limits where no row is about them, and whether each key stands alone.

    The tokens that everybody has where nobody said a number are a guard, not a budget.
    """
    limits = settings.HUB_CONFIG.rate_limits
    given = Quota(**{kind: getattr(limits, kind) or 0 for kind in KINDS})
    is_budget = given.tokens_per_hour not in {0, USUAL_TOKENS_PER_HOUR}
    usual = _subject(EVERYONE, everyone, Subject("", given, budget=is_budget))
    own = limits.per_user_limits
    if isinstance(own, dict) and principal.username in own:
        mine = own[principal.username]
        usual = _subject("", {kind: getattr(mine, kind) or None for kind in KINDS}, usual)
    return usual, own is False


def _subject(name: str, row: Row, under: Subject) -> Subject:
    """Lay a row over what holds without it."""
    tokens = row.get("tokens_per_hour")
    is_budget = under.budget if tokens is None else tokens > 0
    return Subject(name, _over(row, under.quota), is_budget)


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
