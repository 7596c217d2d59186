"""Access: service accounts, the accounts of programs, and their keys."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import people, teams
from accounts import service_accounts as room
from accounts.denials import Refusal
from accounts.models import Team, User
from accounts.principals import Principal
from hub.dashboard import guards
from hub.dashboard.views import access
from hub.dashboard.views.people import PAGE_ROWS, offered

HUB_WIDE = ""  # in place of a team's name


@require_safe
@guards.needs("teams:read")
def programs(request: HttpRequest) -> HttpResponse:
    """List those that this person keeps."""
    who, search = guards.principal(request), request.GET.get("q", "").strip()[:150]
    rows = room.with_use(room.listing(who)).filter(username__icontains=search)
    rows = rows.prefetch_related("api_keys").order_by("username")
    context: dict[str, Any] = {
        "page": Paginator(rows, PAGE_ROWS).get_page(request.GET.get("page")),
        "search": search,
        "may": _may_make(who),
    }
    return access.show(request, "programs", _("Service accounts"), context)


@require_http_methods(["GET", "HEAD", "POST"])
@guards.needs("teams:write")
def new(request: HttpRequest) -> HttpResponse:
    """Show the form, or make the account."""
    if request.method != "POST":
        return _form(request)
    try:
        made = _make(request)
    except Refusal as error:
        return _form(request, error)
    messages.success(request, _("%(name)s is there: give it a key.") % {"name": made.username})
    return redirect("program", made.username)


@require_safe
@guards.needs("teams:read")
def program(request: HttpRequest, name: str) -> HttpResponse:
    """Show one account with its keys; who keeps it may change it."""
    account, who = _named(request, name), guards.principal(request)
    keys = room.working_keys(account).order_by("-created_at")
    context: dict[str, Any] = {
        "account": account,
        "may": who.allows("teams:write"),
        "roles": offered(who, account.bound_team),
        "keys": Paginator(keys, PAGE_ROWS).get_page(request.GET.get("page")),
        "memberships": account.memberships.select_related("team").order_by("team__name"),
    }
    return access.show(request, "programs_one", name, context)


@require_POST
@guards.needs("teams:write")
def change(request: HttpRequest, name: str) -> HttpResponse:
    """Give another role or contact, disable or enable."""
    account, given, who = _named(request, name), request.POST, guards.principal(request)
    fields = ("role", "contact", "description")
    wanted: dict[str, Any] = {field: given[field] for field in fields if field in given}
    if "active" in given:
        wanted["is_active"] = given["active"] == "yes"
    done = _("%(name)s is changed, everywhere within two seconds.") % {"name": name}
    access.attempt(request, lambda: room.change(account, who, **wanted), done)
    return redirect("program", name)


@require_POST
@guards.needs("teams:write")
def remove(request: HttpRequest, name: str) -> HttpResponse:
    account, who = _named(request, name), guards.principal(request)
    done = _("%(name)s is removed.") % {"name": name}
    gone = access.attempt(request, lambda: people.remove(account, who), done)
    return redirect("programs") if gone else redirect("program", name)


def _may_make(who: Principal) -> bool:
    keeps = who.allows(people.SCOPE) or access.kept_teams(who).exists()
    return who.allows("teams:write") and keeps


def _make(request: HttpRequest) -> User:
    """Raises: Refusal, Http404."""
    given, who = request.POST, guards.principal(request)
    return room.create(
        given.get("name", ""),
        _place(who, given.get("team")),
        given.get("role", ""),
        who,
        contact=given.get("contact", ""),
        description=given.get("description", ""),
    )


def _place(who: Principal, name: str | None) -> Team | None:
    """Find whose a new account is: None for the hub's. Raises: Http404."""
    if name is None:
        raise Http404
    return None if name == HUB_WIDE else get_object_or_404(teams.listing(who), name=name)


def _named(request: HttpRequest, name: str) -> User:
    rows = room.with_use(room.listing(guards.principal(request)))
    return get_object_or_404(rows, username=name)


def _form(request: HttpRequest, error: Refusal | None = None) -> HttpResponse:
    who = guards.principal(request)
    own = list(access.kept_teams(who))
    hub_wide = who.allows(people.SCOPE)
    lists = [offered(who, team) for team in own] + ([offered(who)] if hub_wide else [])
    context: dict[str, Any] = {
        "error": error,
        "given": request.POST,
        "teams": own,
        "hub_wide": hub_wide,
        "roles": list(dict.fromkeys(name for names in lists for name in names)),
    }
    title, status = _("New service account"), 400 if error else 200
    return access.show(request, "programs_new", title, context, status)
