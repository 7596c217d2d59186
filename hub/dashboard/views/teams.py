"""Access: teams, who is in them, and what restricts them."""

from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import scopes
from accounts import teams as room
from accounts.denials import Refusal
from accounts.models import Membership, Team, User
from hub.dashboard import guards
from hub.dashboard.views import access
from hub.dashboard.views.people import PAGE_ROWS, offered

POLICY = tuple(scope for scope in scopes.SCOPES if scope not in scopes.ADMIN)


@require_safe
@guards.needs("teams:read")
def teams(request: HttpRequest) -> HttpResponse:
    """List one's own teams, or all of them."""
    rows = (
        room.listing(guards.principal(request))
        .annotate(n_members=Count("memberships"))
        .order_by("name")
    )
    page = Paginator(rows, PAGE_ROWS).get_page(request.GET.get("page"))
    return access.show(request, "teams", _("Teams"), {"page": page})


@require_http_methods(["GET", "HEAD", "POST"])
@guards.needs(room.SCOPE)
def new(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return access.show(request, "teams_new", _("New team"), {"given": {}})
    given = request.POST
    try:
        made = room.create(
            given.get("name", "").strip(),
            guards.principal(request),
            description=given.get("description", ""),
        )
    except Refusal as error:
        context: dict[str, Any] = {"error": error, "given": given}
        return access.show(request, "teams_new", _("New team"), context, 400)
    messages.success(request, _("The team %(name)s is there.") % {"name": made.name})
    return redirect("team", made.name)


@require_safe
@guards.needs("teams:read")
def team(request: HttpRequest, name: str) -> HttpResponse:
    """Show members; who manages it may change them."""
    found, who = _named(request, name), guards.principal(request)
    members = found.memberships.select_related("user").order_by("user__username")
    manages = who.allows("teams:write") and (who.sees_all or found.pk in who.manages)
    context: dict[str, Any] = {
        "team": found,
        "members": Paginator(members, PAGE_ROWS).get_page(request.GET.get("page")),
        "manages": manages,
        "roles": offered(who, found) if manages else [],
        "policy": POLICY,
        "allowed": sorted(scopes.expand(found.scopes_allowed)),
        "others": room.listing(who).exclude(pk=found.pk),
    }
    return access.show(request, "teams_one", name, context)


@require_POST
@guards.needs(room.SCOPE)
def change(request: HttpRequest, name: str) -> HttpResponse:
    """Keep the policy of a team."""
    found, given, who = _named(request, name), request.POST, guards.principal(request)
    chosen = given.getlist("scopes")
    fields: dict[str, Any] = {
        "description": given.get("description", ""),
        "scopes": [] if set(chosen) >= set(POLICY) else chosen,
        "models": given.get("models", "").replace(",", " ").split(),
    }
    done = _("%(name)s is changed, everywhere within two seconds.") % {"name": name}
    access.attempt(request, lambda: room.change(found, who, **fields), done)
    return redirect("team", name)


@require_POST
@guards.needs(room.SCOPE)
def remove(request: HttpRequest, name: str) -> HttpResponse:
    found, who = _named(request, name), guards.principal(request)
    to = room.listing(who).filter(name=request.POST.get("to", "")).first()
    done = _("%(name)s is removed.") % {"name": name}
    gone = access.attempt(request, lambda: room.remove(found, who, to), done)
    return redirect("teams") if gone else redirect("team", name)


@require_POST
@guards.needs("teams:write")
def add_member(request: HttpRequest, name: str) -> HttpResponse:
    found, given, who = _named(request, name), request.POST, guards.principal(request)
    username = given.get("user", "").strip()
    user = User.objects.filter(username=username).first()
    if user is None or user.is_bound:
        messages.error(request, _("There is no person named %(name)s.") % {"name": username[:150]})
        return redirect("team", name)
    level, role = given.get("level", ""), given.get("role", "")
    done = _("%(user)s is in %(name)s now.") % {"user": username, "name": name}
    if level in {"", *Membership.Level.values}:
        access.attempt(request, lambda: room.add(found, user, who, level, role), done)
    return redirect("team", name)


@require_POST
@guards.needs("teams:write")
def change_member(request: HttpRequest, name: str, username: str) -> HttpResponse:
    one, given, who = _member(request, name, username), request.POST, guards.principal(request)
    level = given.get("level", "")
    done = _("%(name)s is changed, everywhere within two seconds.") % {"name": username}
    if level in {"", *Membership.Level.values}:
        act = lambda: room.change_member(one, who, level, given.get("role", ""))  # noqa: E731
        access.attempt(request, act, done)
    return redirect("team", name)


@require_POST
@guards.needs("teams:write")
def remove_member(request: HttpRequest, name: str, username: str) -> HttpResponse:
    one, who = _member(request, name, username), guards.principal(request)
    done = _("%(user)s is no longer in %(name)s.") % {"user": username, "name": name}
    access.attempt(request, lambda: room.remove_member(one, who), done)
    left = one.user_id == who.user_id and not who.sees_all
    return redirect("teams") if left else redirect("team", name)


def _named(request: HttpRequest, name: str) -> Team:
    return get_object_or_404(room.listing(guards.principal(request)), name=name)


def _member(request: HttpRequest, name: str, username: str) -> Membership:
    rows = Membership.objects.select_related("team", "user")
    return get_object_or_404(rows, team=_named(request, name), user__username=username)
