"""Overview, the live panels on their own, and what the command palette offers."""

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from hub.dashboard import finds, guards, pages, panels

PANELS = ["summary", "figures", "memory", "activity", "traffic", "decisions"]


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
    return JsonResponse({"entries": finds.entries(guards.principal(request))})
