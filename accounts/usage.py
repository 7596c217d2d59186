"""Reads of the ledger of use: sums by who, what and when, and single requests. API and pages call these."""

import csv
import datetime as dt
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from django.conf import settings
from django.db.models import Case, F, Max, Model, QuerySet, Sum, Value, When
from django.utils import timezone
from django.utils.module_loading import import_string

from accounts import csv_text, scopes
from accounts.models import Usage, UsageTotal
from accounts.models.usage import SUMS
from accounts.principals import Principal

EVERYBODY = "usage:all"
HOURS_UP_TO = dt.timedelta(days=3)  # shorter ranges are made of hours, longer ones of days
MOST_LINES = 100_000  # of a CSV file
TIMES = ("hour", "day")
NAMES = ("model", "adapter", "alias")  # columns whose values may be private to a team
# What a line is about: the columns that tell lines apart, and labels that go with them.
GROUPS: dict[str, tuple[str, ...]] = {
    "user": ("user_id", "username"),
    "key": ("key_id", "key_name"),
    "team": ("team_id", "team"),
    "model": ("model",),
    "adapter": ("adapter",),
    "alias": ("alias",),
    "endpoint": ("endpoint",),
    "hour": ("at",),
    "day": ("at",),
}
FILTERS = {
    "user": "username",
    "key": "key_id",
    "team": "team",
    "model": "model",
    "adapter": "adapter",
    "alias": "alias",
    "endpoint": "endpoint",
}
Line = dict[str, Any]
M = TypeVar("M", bound=Model)


class NotYours(Exception):
    """Somebody asked for everybody's use without the right to see it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for. `everyone`: not one's own use alone; `filters` by name of `FILTERS`."""

    since: dt.datetime
    until: dt.datetime
    groups: tuple[str, ...] = ()
    everyone: bool = False
    filters: Mapping[str, str] = field(default_factory=dict)

    @property
    def span(self) -> str:
        """`hour` or `day`: what the sums are made of."""
        short = self.until - self.since <= HOURS_UP_TO
        return "hour" if "hour" in self.groups or (short and "day" not in self.groups) else "day"


def may_see_all(who: Principal) -> bool:
    """Tell whether more than one's own is shown: everybody's, or that of some teams."""
    return who.allows(EVERYBODY)


def hidden(who: Principal) -> frozenset[str]:
    """Give the names of models and aliases that are not there for somebody."""
    if who.sees_all:
        return frozenset()
    known: Callable[[Principal], set[str]] = import_string(settings.HUB_KNOWN_MODELS)
    every = replace(who, scopes=frozenset(scopes.SCOPES))
    return frozenset(known(every) - known(who))


def sums(who: Principal, wish: Wish) -> "QuerySet[Any, Any]":
    """Give one line for each group, the largest first, or by time. Raises: NotYours."""
    nameless = hidden(who) if wish.everyone else frozenset()
    columns, labels = _columns(wish.groups, nameless)
    rows: QuerySet[Any, Any] = _visible(UsageTotal.objects.filter(span=wish.span), who, wish)
    rows = rows.filter(at__gte=_floor(wish.since, wish.span), at__lt=wish.until)
    named = {f"{label}_label": Max(label) for label in labels}
    lines = rows.order_by().values(**columns) if columns else rows.order_by().values("span")
    found = lines.annotate(**named, **{f"sum_{name}": Sum(name) for name in SUMS})
    by = ["by_at"] if "by_at" in columns else []
    ordered: QuerySet[Any, Any] = found.order_by(
        *by, "-sum_completion_tokens", "-sum_requests", *columns
    )
    return ordered


def line(found: Mapping[str, Any], groups: Sequence[str]) -> Line:
    """Write a line of `sums` as API and CSV show it."""
    shown: Line = {}
    for group in groups:
        first, *more = GROUPS[group]
        if first == "at":
            shown[group] = found["by_at"]
        else:
            shown |= {
                first: found[f"by_{first}"],
                **{name: found[f"{name}_label"] for name in more},
            }
    return shown | figures(found)


def figures(found: Mapping[str, Any]) -> Line:
    """Give the sums and means of a line; of nothing, zeros."""
    total = {name: found.get(f"sum_{name}") or 0 for name in SUMS}
    return {
        "requests": total["requests"],
        "failed": total["errors"],
        **{name: total[name] for name in SUMS if name.endswith("_tokens")},
        "audio_s": round(total["audio_s"], 3),
        "mean_duration_ms": _mean(total["duration_ms"], total["requests"]),
        "mean_first_token_ms": _mean(total["first_token_ms"], total["firsts"]),
        "cost": total["cost_nano"] / 1e9,
    }


def requests(who: Principal, wish: Wish) -> "QuerySet[Usage]":
    """Give single requests, the newest first. Raises: NotYours."""
    rows = _visible(Usage.objects.all(), who, wish)
    return rows.filter(at__gte=wish.since, at__lt=wish.until).order_by("-at", "-pk")


def shown(who: Principal, wish: Wish, rows: Iterable[Usage]) -> list[Usage]:
    """Leave out of others' requests the names that are not there for somebody."""
    found, nameless = [*rows], hidden(who) if wish.everyone else frozenset()
    for row in found:
        for name in NAMES:
            if getattr(row, name) in nameless:
                setattr(row, name, "")
    return found


def series(who: Principal, wish: Wish) -> list[Line]:
    """Give the figures of every hour or day of a range, also where nothing was asked."""
    timed = Wish(wish.since, wish.until, (wish.span,), wish.everyone, wish.filters)
    found = {row["by_at"]: row for row in sums(who, timed)}
    step = dt.timedelta(hours=1) if timed.span == "hour" else dt.timedelta(days=1)
    at, lines = _floor(wish.since, timed.span), list[Line]()
    while at < wish.until:
        lines.append({"at": at, **figures(found.get(at, {}))})
        at += step
    return lines


def of_keys(key_ids: Iterable[str], days: int) -> dict[str, list[int]]:
    """Give the requests of each key by day, oldest first."""
    today = _floor(timezone.now(), "day")
    start = today - dt.timedelta(days=days - 1)
    rows = UsageTotal.objects.filter(span="day", at__gte=start, key_id__in=[*key_ids])
    found: dict[str, list[int]] = {}
    for key_id, at, requests in rows.values_list("key_id", "at", "requests"):
        found.setdefault(key_id, [0] * days)[(at - start).days] += requests
    return found


def as_csv(who: Principal, wish: Wish) -> str:
    """Write the lines of `sums`; cells that a spreadsheet would run are escaped. Raises: NotYours."""
    lines = [line(found, wish.groups) for found in sums(who, wish)[:MOST_LINES]]
    heads = [*line(_NOTHING, wish.groups)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(heads)
    writer.writerows([csv_text.cell(one[head]) for head in heads] for one in lines)
    return text.getvalue()


class _Nothing(dict[str, Any]):
    def __missing__(self, _key: str) -> None:
        return None


_NOTHING = _Nothing()


def _columns(
    groups: Sequence[str], nameless: frozenset[str]
) -> tuple[dict[str, F | Case], list[str]]:
    """Give the columns that tell lines apart, and the labels beside them."""
    firsts = dict.fromkeys(GROUPS[group][0] for group in groups)
    labels = dict.fromkeys(label for group in groups for label in GROUPS[group][1:])
    return {f"by_{name}": _column(name, nameless) for name in firsts}, [*labels]


def _column(name: str, nameless: frozenset[str]) -> F | Case:
    """Give a column, or one with nothing in the place of what is not to be seen."""
    if name not in NAMES or not nameless:
        return F(name)
    return Case(When(**{f"{name}__in": nameless}, then=Value("")), default=F(name))


def _visible(rows: "QuerySet[M]", who: Principal, wish: Wish) -> "QuerySet[M]":
    if not wish.everyone:
        rows = rows.filter(user_id=who.user_id)
    elif not may_see_all(who):
        raise NotYours
    else:
        rows = _of_others(rows, who, wish)
    return rows.filter(**{FILTERS[name]: value for name, value in wish.filters.items()})


def _of_others(rows: "QuerySet[M]", who: Principal, wish: Wish) -> "QuerySet[M]":
    """The right that holds in some teams shows their use; a name that is not there finds nothing."""
    if not who.allows_on_hub(EVERYBODY):
        rows = rows.filter(team_id__in=[t for t in who.by_team if who.allows_in(EVERYBODY, t)])
    asked = {wish.filters[name] for name in NAMES if name in wish.filters}
    return rows.none() if asked & hidden(who) else rows


def _floor(at: dt.datetime, span: str) -> dt.datetime:
    hour = at.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)
    return hour if span == "hour" else hour.replace(hour=0)


def _mean(total: float, count: int) -> int | None:
    return round(total / count) if count else None
