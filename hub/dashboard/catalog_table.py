"""The catalog as a table: what a visitor asks for in the address, and the one page that answers it.

Filters and order look at light lines of all models, full rows are read for the page shown only.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.db.models import Q
from django.http import QueryDict
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from accounts.principals import Principal
from hub.dashboard import rows, states, wording
from hub.dashboard.rows import ModelRow
from inference import live, sight, wire
from inference.models import Model

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

PAGE_ROWS = 50
ENDED = frozenset({Model.State.FAILED, Model.State.CANCELLED})
MAX_SEARCH_CHARS = 128
LAST = 10**9  # in the order of last use: models that are not loaded

# Which of the node's states a filter of the page means; the catalog's own come to the last two.
GROUPS: dict[str, frozenset[str]] = {
    "loaded": frozenset({"ready", "busy", "draining"}),
    "loading": frozenset({"loading"}),
    "cold": frozenset({"cold", "asleep"}),
    "arriving": frozenset(),
    "failed": frozenset({"failed"}),
}
GROUP_WORDS: "dict[str, _StrPromise]" = {
    "": _("All"),
    "loaded": _("Ready"),
    "loading": _("Loading"),
    "cold": _("Not loaded"),
    "arriving": _("Being added"),
    "failed": _("Failed"),
}


@dataclass(frozen=True, slots=True)
class Line:
    """What filters and order look at."""

    pk: int
    name: str
    kind: str
    engine: str
    group: str
    size_bytes: int
    context_tokens: int
    memory_bytes: int
    requests: tuple[int, int]  # running, in all
    idle_s: float


@dataclass(frozen=True, slots=True)
class Column:
    """A heading; `style` says how it looks, `key` orders by it."""

    name: str
    title: "_StrPromise"
    style: str
    key: Callable[[Line], Any]


COLUMNS = (
    Column("name", _("Model"), "", lambda line: line.name.lower()),
    Column("state", _("State"), "", lambda line: list(GROUPS).index(line.group)),
    Column("kind", _("Kind"), "lesser", lambda line: line.kind),
    Column("size", _("Size"), "num lesser", lambda line: line.size_bytes),
    Column("context", _("Context"), "num lesser", lambda line: line.context_tokens),
    Column("memory", _("Memory"), "num", lambda line: line.memory_bytes),
    Column("requests", _("Requests"), "num least", lambda line: line.requests),
    Column("used", _("Last use"), "least", lambda line: line.idle_s),
)
BY_NAME = {column.name: column for column in COLUMNS}


@dataclass(frozen=True, slots=True)
class Wish:
    """What the address asks for; words that mean nothing are as if they were not there."""

    search: str = ""
    kind: str = ""
    engine: str = ""
    state: str = ""
    sort: str = ""  # a column's name, with - before it for the other way round
    page: int = 1

    @classmethod
    def of(cls, query: QueryDict) -> "Wish":
        sort, state, page = (query.get(name, "") for name in ("sort", "state", "page"))
        return cls(
            search=query.get("q", "").strip()[:MAX_SEARCH_CHARS],
            kind=query.get("kind", "")[:32],
            engine=query.get("engine", "")[:32],
            state=state if state in GROUPS else "",
            sort=sort if sort.removeprefix("-") in BY_NAME else "",
            page=int(page) if page.isdecimal() and len(page) < 6 else 1,
        )

    def address(self, **changes: Any) -> str:
        """Give the query of this wish with something changed, from its first page on."""
        wish = replace(self, **{"page": 1, **changes})
        fields = {"q": wish.search, "kind": wish.kind, "engine": wish.engine, "state": wish.state}
        fields |= {"sort": wish.sort, "page": str(wish.page) if wish.page > 1 else ""}
        query = urlencode({name: value for name, value in fields.items() if value})
        return f"?{query}" if query else ""

    @property
    def is_narrow(self) -> bool:
        return bool(self.search or self.kind or self.engine or self.state)


@dataclass(frozen=True, slots=True)
class Choice:
    """A filter's choice with how many models it would show."""

    value: str
    title: str
    count: int
    address: str
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class Head:
    title: str
    style: str
    address: str
    order: str  # as aria-sort says it


def _group(state: str, status: wire.ModelStatus | None) -> str:
    if state in ENDED:
        return "failed"
    if state != Model.State.AVAILABLE:
        return "arriving"
    key = states.of(status).key if status else "cold"
    return next(group for group, keys in GROUPS.items() if key in keys)


def _use(group: str, status: wire.ModelStatus | None) -> tuple[int, tuple[int, int], float]:
    """Give memory, requests now and in all, and seconds without use."""
    if status is None:
        return 0, (0, 0), LAST
    idle_s = status.idle_s if group == "loaded" else LAST
    return status.memory_bytes, (status.running, status.requests_total), idle_s


class Table:
    """One page of the catalog at one moment."""

    def __init__(self, snapshot: wire.Snapshot | None, wish: Wish, who: Principal) -> None:
        self.wish, self._who = wish, who
        snapshot = sight.snapshot(snapshot, who)
        self._known = {model.name: model for model in (snapshot.models if snapshot else [])}
        self._found = [*self._lines()]

    def _lines(self) -> Iterator[Line]:
        text = self.wish.search
        wanted = Q(name__icontains=text) | Q(aliases__name__icontains=text) if text else Q()
        fields = ("pk", "name", "kind", "engine", "state", "size_bytes", "context_tokens")
        base = ("base__name", "report__attached")
        rows = sight.models(self._who).filter(wanted).distinct().values_list(*fields, *base)
        for pk, name, kind, engine, state, size, context, base_name, attached in rows:
            status = live.status(name, base_name if attached else name, self._known)
            group = _group(state, status)
            yield Line(pk, name, kind, engine, group, size, context, *_use(group, status))

    # --- what is shown ----------------------------------------------------------------------------

    @cached_property
    def rows(self) -> list[ModelRow]:
        start = (self.page - 1) * PAGE_ROWS
        wanted = [line.pk for line in self._ordered[start : start + PAGE_ROWS]]
        return rows.of_keys(wanted, self._known, self._who)

    @cached_property
    def _ordered(self) -> list[Line]:
        column = BY_NAME.get(self.wish.sort.removeprefix("-"))
        lines = sorted(self._shown, key=lambda line: (line.kind, line.name))
        if column is None:
            return lines
        return sorted(lines, key=column.key, reverse=self.wish.sort.startswith("-"))

    @cached_property
    def _shown(self) -> list[Line]:
        return [line for line in self._found if self._fits(line, "")]

    def _fits(self, line: Line, leaving: str) -> bool:
        """Tell whether a line passes every filter but the one that is left out."""
        asked = {"kind": self.wish.kind, "engine": self.wish.engine, "group": self.wish.state}
        return all(
            not value or name == leaving or getattr(line, name) == value
            for name, value in asked.items()
        )

    @cached_property
    def every_count(self) -> int:
        return sight.models(self._who).count()

    @property
    def loaded_count(self) -> int:
        return sum(1 for model in self._known.values() if states.of(model).key in GROUPS["loaded"])

    @property
    def total(self) -> int:
        return len(self._shown)

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // PAGE_ROWS))

    @property
    def page(self) -> int:
        return min(max(1, self.wish.page), self.pages)

    @property
    def first(self) -> int:
        return (self.page - 1) * PAGE_ROWS + 1

    @property
    def last(self) -> int:
        return min(self.total, self.page * PAGE_ROWS)

    @property
    def before(self) -> str:
        return self.wish.address(page=self.page - 1) if self.page > 1 else ""

    @property
    def after(self) -> str:
        return self.wish.address(page=self.page + 1) if self.page < self.pages else ""

    @property
    def place(self) -> str:
        """Where this very page of the table is found again."""
        return reverse("models") + self.wish.address(page=self.page)

    @property
    def heads(self) -> list[Head]:
        return [self._head(column) for column in COLUMNS]

    def _head(self, column: Column) -> Head:
        up, down = column.name, f"-{column.name}"
        order = {up: "ascending", down: "descending"}.get(self.wish.sort, "none")
        turned = down if order == "ascending" else up
        return Head(str(column.title), column.style, self.wish.address(sort=turned), order)

    # --- filters ----------------------------------------------------------------------------------

    @property
    def groups(self) -> list[Choice]:
        lines = [line for line in self._found if self._fits(line, "group")]
        counts = Counter(line.group for line in lines)
        return [self._of_group(group, counts, len(lines)) for group in GROUP_WORDS]

    def _of_group(self, group: str, counts: Counter[str], every: int) -> Choice:
        count = counts[group] if group else every
        title, address = str(GROUP_WORDS[group]), self.wish.address(state=group)
        return Choice(group, title, count, address, group == self.wish.state)

    @property
    def kinds(self) -> list[Choice]:
        lines = (line.kind for line in self._found if self._fits(line, "kind") and line.kind)
        return self._choices(lines, self.wish.kind, wording.kind_word)

    @property
    def engines(self) -> list[Choice]:
        lines = (line.engine for line in self._found if self._fits(line, "engine") and line.engine)
        return self._choices(lines, self.wish.engine, str)

    def _choices(
        self, found: Iterable[str], chosen: str, word: Callable[[str], str]
    ) -> list[Choice]:
        counts = Counter(found)
        values = sorted({*counts} | ({chosen} if chosen else set()))
        return [Choice(v, word(v), counts[v], "", v == chosen) for v in values]
