"""Overview, the live panels on their own, and what the command palette offers."""

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from accounts.principals import Principal
from hub.dashboard import guards, pages, panels
from inference import sight

PANELS = ["summary", "figures", "memory", "activity", "traffic", "decisions"]
MAX_MODELS = 500


@require_safe
@guards.needs("status:read")
def overview(request: HttpRequest) -> HttpResponse:
    return pages.show(request, "pages/overview.html", _("Overview"), PANELS)


@require_safe
def panel(request: HttpRequest, name: str) -> HttpResponse:
    """Give a panel's inside: for htmx while the websocket is down."""
    who = guards.principal(request)
    found = panels.allowed([name], who)
    if not found:
        raise Http404
    return HttpResponse(panels.render(found[0], pages.board(who), who))


@require_safe
def palette(request: HttpRequest) -> JsonResponse:
    """List what Ctrl-K offers this person."""
    who = guards.principal(request)
    entries = [*_page_entries(who), *_model_entries(who), *_theme_entries()]
    return JsonResponse({"entries": entries})


def _page_entries(who: Principal) -> list[dict[str, Any]]:
    links = [link for _group, links in pages.navigation(who) for link in links]
    return [
        {
            "title": str(link.title),
            "group": _("Page"),
            "icon": link.icon,
            "url": reverse(link.route),
        }
        for link in links
    ]


def _model_entries(who: Principal) -> list[dict[str, Any]]:
    if not who.allows("models:read"):
        return []
    names = sight.models(who).order_by("name").values_list("name", flat=True)[:MAX_MODELS]
    return [
        {"title": name, "group": _("Model"), "icon": "cube", "url": reverse("model", args=[name])}
        for name in names
    ]


def _theme_entries() -> list[dict[str, Any]]:
    group = _("Theme")
    return [
        {"title": _("Light"), "group": group, "icon": "sun", "theme": "light"},
        {"title": _("Dark"), "group": group, "icon": "moon", "theme": "dark"},
        {"title": _("Like the system"), "group": group, "icon": "device-desktop", "theme": "auto"},
    ]
