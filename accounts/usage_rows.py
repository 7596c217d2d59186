"""Puts a batch of noted requests into the database, with their sums by hour and day: once, or not at all.

`ledger` calls it again with the same batch where it does not know how it went.
"""

import datetime as dt
import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db import DataError, IntegrityError, connection, transaction

from accounts import prices
from accounts.entry import Entry
from accounts.models import ApiKey, Team, Usage, UsageTotal
from accounts.models.usage import SUMS
from accounts.prices import Cost

logger = logging.getLogger(__name__)

SPANS = ("hour", "day")
LABELS = (
    "key_id",
    "key_name",
    "user_id",
    "username",
    "team_id",
    "team",
    "model",
    "adapter",
    "alias",
    "endpoint",
)
SAME = ("key_id", "user_id", "team_id", "model", "adapter", "alias", "endpoint")  # make one line
NEWEST = ("key_name", "username", "team")  # of which the last one seen is kept
_OF_ROW = (
    "uid",
    "request_id",
    "at",
    *LABELS,
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "estimated",
    "audio_s",
    "first_token_ms",
    "duration_ms",
    "status",
    "error_code",
    "cost_nano",
)
_OF_TOTAL = ("slot", "span", "at", *LABELS, *SUMS)
Row = dict[str, object]


@dataclass(slots=True)
class _Sum:
    labels: Row
    span: str
    at: dt.datetime
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SUMS, 0))


def put(batch: Sequence[Entry]) -> int:
    """Insert what is not there yet and give how many that were. Raises: DatabaseError.

    A line that the database takes never, and not only not now, must not hold up those after it.
    """
    try:
        return _put(batch)
    except (DataError, IntegrityError):
        if len(batch) > 1:
            return sum(put([entry]) for entry in batch)
        logger.exception("a line of use is left out", extra={"uid": batch[0].uid})
        return 0


def _put(batch: Sequence[Entry]) -> int:
    with transaction.atomic():
        known = {
            *Usage.objects.filter(uid__in=[e.uid for e in batch]).values_list("uid", flat=True)
        }
        new = {entry.uid: entry for entry in batch if entry.uid not in known}
        rows = _rows([*new.values()])
        _insert(Usage, _OF_ROW, rows)
        _insert(UsageTotal, _OF_TOTAL, _totals(rows), _ADD)
    return len(rows)


_ADD = "ON CONFLICT (slot) DO UPDATE SET " + ", ".join(
    [
        *(
            f"{name} = COALESCE(NULLIF(excluded.{name}, ''), accounts_usagetotal.{name})"
            for name in NEWEST
        ),
        *(f"{name} = accounts_usagetotal.{name} + excluded.{name}" for name in SUMS),
    ]
)


def _insert(
    table: type[Usage] | type[UsageTotal], names: Sequence[str], rows: Iterable[Row], more: str = ""
) -> None:
    """By hand: the ORM would take ten times as long, which requests beside it would feel."""
    adapted = [[_adapted(row[name]) for name in names] for row in rows]
    if not adapted:
        return
    marks = ", ".join(["%s"] * len(names))
    columns = ", ".join(names)
    # Every word of it is ours: names of columns and marks.
    sql = f"INSERT INTO {table._meta.db_table} ({columns}) VALUES ({marks}) {more}"  # noqa: S608, SLF001
    with connection.cursor() as cursor:
        cursor.executemany(sql, adapted)


def _adapted(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return value


def _rows(entries: Sequence[Entry]) -> list[Row]:
    ids = {entry.key_id for entry in entries} - {""}
    names = dict(ApiKey.objects.filter(public_id__in=ids).values_list("public_id", "name"))
    team_ids = {entry.team_id for entry in entries} - {0}
    teams = dict(Team.objects.filter(pk__in=team_ids).values_list("pk", "name"))
    costs = prices.current()
    return [_row(entry, names, teams, costs) for entry in entries]


def _row(
    entry: Entry, names: Mapping[str, str], teams: Mapping[int, str], costs: Mapping[str, Cost]
) -> Row:
    cost = costs.get(entry.adapter) or costs.get(entry.model)
    return {
        **{name: getattr(entry, name) for name in _OF_ROW if hasattr(entry, name)},
        "at": dt.datetime.fromtimestamp(entry.at_s, tz=dt.UTC),
        "key_name": names.get(entry.key_id, ""),
        "team": teams.get(entry.team_id, ""),
        "cost_nano": cost.nano(entry) if cost else 0,
    }


def _totals(rows: Iterable[Row]) -> list[Row]:
    found: dict[str, _Sum] = {}
    for row in rows:
        for span in SPANS:
            at = _start(row["at"], span)  # type: ignore[arg-type]
            one = found.setdefault(
                _slot(row, span, at), _Sum({n: row[n] for n in LABELS}, span, at)
            )
            one.labels.update({name: row[name] for name in NEWEST if row[name]})
            _add(one.sums, row)
    return [
        {"slot": slot, "span": one.span, "at": one.at, **one.labels, **one.sums}
        for slot, one in found.items()
    ]


def _add(sums: dict[str, float], row: Row) -> None:
    first_ms = row["first_token_ms"]
    values: Row = {
        **row,
        "requests": 1,
        "errors": int(int(str(row["status"])) >= 400 or bool(row["error_code"])),
        "first_token_ms": first_ms or 0,
        "firsts": int(first_ms is not None),
    }
    for name in SUMS:
        sums[name] += values[name]  # type: ignore[operator]


def _start(at: dt.datetime, span: str) -> dt.datetime:
    hour = at.replace(minute=0, second=0, microsecond=0)
    return hour if span == "hour" else hour.replace(hour=0)


def _slot(row: Row, span: str, at: dt.datetime) -> str:
    parts = repr((span, at.timestamp(), *(row[name] for name in SAME)))
    return hashlib.blake2b(parts.encode(), digest_size=16).hexdigest()


def sweep(now: dt.datetime, days: int) -> None:
    """Forget single requests and hours that are older than so many days; days are kept."""
    oldest = now - dt.timedelta(days=days)
    Usage.objects.filter(at__lt=oldest).delete()
    UsageTotal.objects.filter(span="hour", at__lt=oldest).delete()
