"""Access: service accounts, the accounts of programs, and their keys."""

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts import people, teams
from accounts import service_accounts as room
from accounts.models import User
from hub.dashboard import guards
from hub.dashboard.views import access
from hub.dashboard.views.people import PAGE_ROWS, offered


@require_safe
@guards.needs("teams:read")
def programs(request: HttpRequest) -> HttpResponse:
    """List those that this person keeps, with a form for a new one."""
    who = guards.principal(request)
    rows = room.listing(who).prefetch_related("api_keys").order_by("username")
    own = access.kept_teams(who)
    context: dict[str, Any] = {
        "page": Paginator(rows, PAGE_ROWS).get_page(request.GET.get("page")),
        "teams": own,
        "roles": offered(who),
        "may": who.allows("teams:write") and own.exists(),
    }
    return access.show(request, "programs", _("Service accounts"), context)


@require_POST
@guards.needs("teams:write")
def new(request: HttpRequest) -> HttpResponse:
    given, who = request.POST, guards.principal(request)
    team = get_object_or_404(teams.listing(who), name=given.get("team", ""))
    name = given.get("name", "").strip()
    done = _("%(name)s is there: give it a key.") % {"name": name}
    access.attempt(request, lambda: room.create(name, team, given.get("role", ""), who), done)
    return redirect("programs")


@require_POST
@guards.needs("teams:write")
def change(request: HttpRequest, name: str) -> HttpResponse:
    """Disable or enable."""
    account, who = _named(request, name), guards.principal(request)
    active = request.POST.get("active") == "yes"
    done = _("%(name)s is changed, everywhere within two seconds.") % {"name": name}
    access.attempt(request, lambda: people.change(account, who, is_active=active), done)
    return redirect("programs")


@require_POST
@guards.needs("teams:write")
def remove(request: HttpRequest, name: str) -> HttpResponse:
    account, who = _named(request, name), guards.principal(request)
    done = _("%(name)s is removed.") % {"name": name}
    access.attempt(request, lambda: people.remove(account, who), done)
    return redirect("programs")


def _named(request: HttpRequest, name: str) -> User:
    return get_object_or_404(room.listing(guards.principal(request)), username=name)
