"""Signed-in browsers: one's own on My account, everybody's under Access."""

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST, require_safe

from accounts import visits as visit_room
from hub.dashboard import guards, pages
from hub.dashboard.views import access

SHOWN = 500


@require_safe
@guards.needs("admin:users")
def visits(request: HttpRequest) -> HttpResponse:
    """List every signed-in browser, the last seen first."""
    who = guards.principal(request)
    found = visit_room.listing(who)
    context: dict[str, Any] = {
        "tabs": access.tabs(who),
        "tab": "visits",
        "visits": found[:SHOWN],
        "total": found.count(),
        "people": found.values("user").distinct().count(),
        "here": visit_room.key_of(request),
    }
    return pages.show(request, "pages/visits.html", _("Signed-in browsers"), context=context)


@require_POST
def end(request: HttpRequest, pk: int) -> HttpResponse:
    """End one; whoever may not see it learns nothing of it."""
    who = guards.principal(request)
    visit = visit_room.listing(who).filter(pk=pk).first()
    if visit is None:
        raise Http404
    if visit.session_key == visit_room.key_of(request):
        messages.error(request, _("This is the browser you sit at: sign out instead."))
    else:
        visit_room.end([visit])
        messages.success(request, _("That browser is signed out."))
    return redirect("visits" if request.POST.get("from") == "visits" else "account")


@require_POST
@guards.proved
def end_others(request: HttpRequest) -> HttpResponse:
    """End all of one's own but this one."""
    user = guards.person(request)
    others = visit_room.of(user).exclude(session_key=visit_room.key_of(request))
    count = visit_room.end(others)
    text = ngettext("%(n)d browser is signed out.", "%(n)d browsers are signed out.", count)
    messages.success(request, text % {"n": count})
    return redirect("account")
