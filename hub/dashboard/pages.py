"""What every page shares: navigation, the words that scripts need, and the first state of panels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from accounts.principals import Principal
from hub.dashboard import guards, panels, reasons, watcher
from hub.dashboard.board import Board
from inference.errors import HubError

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise


@dataclass(frozen=True, slots=True)
class Link:
    """An entry of the navigation; `route` is a URL name."""

    route: str
    title: "_StrPromise"
    icon: str
    scope: str


@dataclass(frozen=True, slots=True)
class Group:
    title: "_StrPromise"
    links: tuple[Link, ...]


NAVIGATION = (
    Group(
        gettext_lazy("Use"),
        (
            Link("playground", gettext_lazy("Playground"), icon="message-2", scope="inference"),
            Link("models", gettext_lazy("Models"), icon="cube", scope="models:read"),
        ),
    ),
    Group(
        gettext_lazy("Operate"),
        (
            Link(
                "overview", gettext_lazy("Overview"), icon="layout-dashboard", scope="status:read"
            ),
            Link("scheduler", gettext_lazy("Scheduler"), icon="stack-2", scope="status:read"),
            Link("aliases", gettext_lazy("Aliases"), icon="route", scope="models:read"),
        ),
    ),
    Group(
        gettext_lazy("Govern"),
        (
            Link("keys", gettext_lazy("Keys"), icon="key", scope="keys:manage"),
            Link("system", gettext_lazy("System"), icon="server-2", scope="status:read"),
        ),
    ),
)


def navigation(who: Principal) -> list[tuple[Group, list[Link]]]:
    """Give the groups with at least one page that this person may open."""
    groups = [
        (group, [link for link in group.links if who.allows(link.scope)]) for group in NAVIGATION
    ]
    return [(group, links) for group, links in groups if links]


def section(path: str) -> str:
    """Give the route of the navigation under which a page lies; empty where it lies under none."""
    routes = [link.route for group in NAVIGATION for link in group.links]
    above = [route for route in routes if _is_under(path, reverse(route))]
    return max(above, key=lambda route: len(reverse(route)), default="")


def _is_under(path: str, place: str) -> bool:
    return path == place if place == "/" else path.startswith(place)


def board() -> Board:
    """Give the state of now, for the first view of a page."""
    return Board(async_to_sync(watcher.current)())


def show(
    request: HttpRequest,
    template: str,
    title: str,
    names: Sequence[str] = (),
    context: dict[str, Any] | None = None,
) -> HttpResponse:
    """Render a page of the signed-in dashboard with these live panels."""
    who = guards.principal(request)
    shown = panels.allowed(names, who)
    context = (context or {}) | {
        "who": who,
        "title": title,
        "navigation": navigation(who),
        "section": section(request.path),
        "live_panels": ",".join(panel.name for panel in shown),
    }
    if shown and "board" not in context:
        context["board"] = board()
    return render(request, template, context)


def failure_text(error: HubError) -> str:
    """Say an error of the node in the page's words."""
    return _("That did not work: %(reason)s") % {"reason": reasons.words(error.message)}
