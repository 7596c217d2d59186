"""What every page shares: navigation, the words that scripts need, and the first state of panels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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
            Link(
                "playground", gettext_lazy("Playground"), icon="message-2", scope="inference:chat"
            ),
            Link("models", gettext_lazy("Models"), icon="cube", scope="models:read"),
        ),
    ),
    Group(
        gettext_lazy("Build"),
        (
            Link("datasets", gettext_lazy("Data sets"), icon="database", scope="datasets:read"),
            Link("trainings", gettext_lazy("Training"), icon="bolt", scope="training:read"),
            Link(
                "evaluations", gettext_lazy("Evaluations"), icon="percentage", scope="training:read"
            ),
            Link("mlflow", gettext_lazy("MLflow"), icon="vector", scope="training:read"),
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
            Link("files", gettext_lazy("Files"), icon="file-text", scope="files:read"),
            Link("usage", gettext_lazy("Usage"), icon="chart-line", scope="usage:read"),
        ),
    ),
    Group(
        gettext_lazy("Govern"),
        (
            Link("access", gettext_lazy("Access"), icon="users", scope="teams:read"),
            Link("keys", gettext_lazy("Keys"), icon="key", scope="keys:read"),
            Link("apps", gettext_lazy("Applications"), icon="package", scope="keys:write"),
            Link(
                "sign_in_rules",
                gettext_lazy("Signing in"),
                icon="plug-connected-x",
                scope="admin:system",
            ),
            Link("audit", gettext_lazy("Audit"), icon="history", scope="admin:audit"),
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


def board(who: Principal) -> Board:
    """Give the state of now, for the first view of a page."""
    return Board(watcher.current_now(), who)


def show(
    request: HttpRequest,
    template: str,
    title: str,
    names: Sequence[str] = (),
    context: dict[str, Any] | None = None,
    status: int = 200,
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
        context["board"] = board(who)
    return render(request, template, context, status=status)


def failure_text(error: HubError) -> str:
    """Say an error of the node in the page's words."""
    return _("That did not work: %(reason)s") % {"reason": reasons.words(error.message)}
