"""Which handler answers a path under /v1. `app` fills the table; the packages above add their routes."""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from inference.api.call import Call

Handler = Callable[[Call], Awaitable[None]]
_PARAMETER = re.compile(r"\{(\w+)(\*?)\}")


class Action(NamedTuple):
    """What one method of a path does, and the scope that it needs."""

    scope: str
    handler: Handler


@dataclass(frozen=True)
class Route:
    """`path` may hold `{name}`, one segment, or end with `{name*}`, which holds slashes too."""

    path: str
    actions: Mapping[str, Action]
    is_counted: bool = False  # one call is one use of a model, noted in the ledger

    @cached_property
    def allowed(self) -> tuple[str, ...]:
        """List the methods, as the header `allow` names them."""
        head = ("HEAD",) if "GET" in self.actions else ()
        return (*self.actions, *head, "OPTIONS")

    @cached_property
    def label(self) -> str:
        """Name the route for metrics: never what a client wrote."""
        return _PARAMETER.sub(r"\1", self.path.removeprefix("/v1/"))


class Found(NamedTuple):
    """A route, and the values of the parameters in its path."""

    route: Route
    args: dict[str, str]

    def counts(self, method: str) -> bool:
        """Tell whether a call with this method is a use of a model."""
        return self.route.is_counted and method in self.route.actions


class Table:
    """All routes; a path without parameters is found without trying the others."""

    def __init__(self, *routes: Route) -> None:
        self._plain: dict[str, Route] = {}
        self._patterns: list[tuple[re.Pattern[str], Route]] = []
        self.add(*routes)

    def add(self, *routes: Route) -> None:
        """Take more routes; a path that is there already is replaced."""
        for route in routes:
            if "{" in route.path:
                self._patterns = [kept for kept in self._patterns if kept[1].path != route.path]
                self._patterns.append((_compiled(route.path), route))
            else:
                self._plain[route.path] = route

    def find(self, path: str) -> Found | None:
        if (route := self._plain.get(path)) is not None:
            return Found(route, {})
        for pattern, route in self._patterns:
            if (match := pattern.fullmatch(path)) is not None:
                return Found(route, match.groupdict())
        return None

    def __iter__(self) -> Iterator[Route]:
        yield from self._plain.values()
        yield from (route for _, route in self._patterns)


def _compiled(path: str) -> re.Pattern[str]:
    """The parts between parameters hold nothing special but dots."""
    parts = _PARAMETER.split(path)
    names, stars = parts[1::3], parts[2::3]
    text = re.escape(parts[0])
    for name, star, rest in zip(names, stars, parts[3::3], strict=True):
        text += f"(?P<{name}>{'.+' if star else '[^/]+'})" + re.escape(rest)
    return re.compile(text)
