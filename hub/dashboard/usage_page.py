"""What the page Usage shows: a range of time, the figures of it, their course, and lines by one thing."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec
from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts import usage
from accounts.principals import Principal
from accounts.usage import Wish

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

RANGES: dict[str, tuple["_StrPromise", dt.timedelta]] = {
    "1": (gettext_lazy("24 hours"), dt.timedelta(days=1)),
    "7": (gettext_lazy("7 days"), dt.timedelta(days=7)),
    "30": (gettext_lazy("30 days"), dt.timedelta(days=30)),
    "365": (gettext_lazy("12 months"), dt.timedelta(days=365)),
}
TITLES: dict[str, "_StrPromise"] = {
    "model": gettext_lazy("Model"),
    "user": gettext_lazy("Person"),
    "key": gettext_lazy("Key"),
    "team": gettext_lazy("Team"),
    "alias": gettext_lazy("Alias"),
    "adapter": gettext_lazy("Adapter"),
    "endpoint": gettext_lazy("Endpoint"),
    "day": gettext_lazy("Day"),
}
USUAL_RANGE, USUAL_GROUP = "7", "model"
SHOWN = 200
TEXT_CHARS = 160


@dataclass(frozen=True, slots=True)
class Choice:
    title: str
    address: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table; `name` is empty where the thing has none."""

    name: str
    detail: str
    narrows: str  # the address of the page for this one alone; empty: there is none
    figures: dict[str, Any]


@dataclass(frozen=True)
class UsagePage:
    """`given`: the query of the page's address; what it says wrongly is left out."""

    who: Principal
    given: Mapping[str, str]
    now: dt.datetime = field(default_factory=timezone.now)

    @property
    def range(self) -> str:
        return self._one_of("range", RANGES, USUAL_RANGE)

    @property
    def group(self) -> str:
        return self._one_of("by", TITLES, USUAL_GROUP)

    @property
    def group_title(self) -> str:
        return str(TITLES[self.group])

    @property
    def range_title(self) -> str:
        return str(RANGES[self.range][0])

    @property
    def may_see_all(self) -> bool:
        return usage.may_see_all(self.who)

    @property
    def everyone(self) -> bool:
        return self.may_see_all and self.given.get("whose") != "own"

    @property
    def filters(self) -> dict[str, str]:
        found = {name: self.given.get(name, "")[:TEXT_CHARS] for name in usage.FILTERS}
        return {name: value for name, value in found.items() if value}

    @property
    def filter_words(self) -> list[tuple[str, str, str]]:
        """Give title and value of each filter, and the address without it."""
        return [
            (str(TITLES[name]), value, self._address({name: ""}))
            for name, value in self.filters.items()
        ]

    @property
    def ranges(self) -> list[Choice]:
        return [
            Choice(str(title), self._address({"range": name}), name == self.range)
            for name, (title, _length) in RANGES.items()
        ]

    @property
    def groups(self) -> list[Choice]:
        return [
            Choice(str(title), self._address({"by": name}), name == self.group)
            for name, title in TITLES.items()
        ]

    @property
    def whose(self) -> list[Choice]:
        """Offer the choice to whoever has one."""
        if not self.may_see_all:
            return []
        return [
            Choice(_("Everyone"), self._address({"whose": ""}), self.everyone),
            Choice(_("Only mine"), self._address({"whose": "own"}), not self.everyone),
        ]

    @property
    def wish(self) -> Wish:
        length = RANGES[self.range][1]
        return Wish(self.now - length, self.now, (self.group,), self.everyone, self.filters)

    @cached_property
    def course(self) -> list[dict[str, Any]]:
        """Figures by hour or day, oldest first."""
        return usage.series(self.who, self.wish_of_course)

    @property
    def wish_of_course(self) -> Wish:
        wish = self.wish
        return Wish(wish.since, wish.until, (), wish.everyone, wish.filters)

    @property
    def course_is_hourly(self) -> bool:
        return self.wish_of_course.span == "hour"

    @property
    def newest_first(self) -> list[dict[str, Any]]:
        return [line for line in reversed(self.course) if line["requests"]]

    @property
    def requests_by_day(self) -> list[int]:
        return [line["requests"] for line in self.course]

    @property
    def series_json(self) -> str:
        columns = {
            name: [line[name] for line in self.course]
            for name in ("requests", "prompt_tokens", "completion_tokens")
        }
        times = [line["at"].timestamp() for line in self.course]
        return msgspec.json.encode({"at": times, **columns}).decode()

    @cached_property
    def total(self) -> dict[str, Any]:
        """The sums of the whole range, as the table's lines add up to them."""
        found = usage.sums(self.who, self.wish_of_course).first()
        return usage.figures(found or {})

    @property
    def tokens(self) -> int:
        return int(self.total["prompt_tokens"]) + int(self.total["completion_tokens"])

    @cached_property
    def lines(self) -> list[Line]:
        found = usage.sums(self.who, self.wish)[:SHOWN]
        return [self._line(usage.line(one, (self.group,))) for one in found]

    @property
    def has_more(self) -> bool:
        return len(self.lines) == SHOWN

    @property
    def has_cost(self) -> bool:
        return bool(self.total["cost"])

    @property
    def currency(self) -> str:
        return str(settings.HUB_CURRENCY)

    @property
    def csv_address(self) -> str:
        return self._address({})

    def _line(self, found: dict[str, Any]) -> Line:
        name, detail = _named(found, self.group)
        value = found.get("key_id", name) if self.group == "key" else name
        narrows = self._address({self.group: value, "by": _next(self.group)}) if value else ""
        return Line(name, detail, "" if self.group == "day" else narrows, found)

    def _one_of(self, name: str, known: Mapping[str, object], usual: str) -> str:
        given = self.given.get(name, usual)
        return given if given in known else usual

    def _address(self, change: dict[str, str]) -> str:
        """Give the query of this page with something changed; what is usual is left out."""
        kept = {
            "range": "" if self.range == USUAL_RANGE else self.range,
            "by": "" if self.group == USUAL_GROUP else self.group,
            "whose": "" if self.everyone or not self.may_see_all else "own",
            **self.filters,
        }
        return "?" + urlencode({name: value for name, value in (kept | change).items() if value})


def _next(group: str) -> str:
    """Choose what one thing is best looked at by."""
    return "user" if group in {"model", "team", "adapter", "alias"} else "model"


def _named(found: dict[str, Any], group: str) -> tuple[str, str]:
    if group == "day":
        return found["day"].strftime("%Y-%m-%d"), ""
    if group == "key":
        public_id = found["key_id"]
        return (found["key_name"] or public_id, f"hub_{public_id}…") if public_id else ("", "")
    labels = {"user": "username", "team": "team"}
    return found[labels.get(group, group)] or "", ""
