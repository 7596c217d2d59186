"""Access: roles as a matrix of scopes, and the roles that the hub makes for itself."""

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import roles as room
from accounts import scopes, teams
from accounts.denials import Refusal
from accounts.models import Role
from hub.dashboard import guards
from hub.dashboard.views import access

SHOWN = 20  # own roles in the matrix; all are in the list below it


@dataclass(frozen=True, slots=True)
class Line:
    """One scope and, for each role, whether it holds it."""

    scope: str
    held: tuple[bool, ...]


@require_safe
@guards.needs("teams:read")
def roles(request: HttpRequest) -> HttpResponse:
    """Show who may do what, role by role."""
    own = [*room.listing(guards.principal(request))]
    columns = scopes.ROLES | {role.name: scopes.expand(role.scopes) for role in own[:SHOWN]}
    lines = [
        Line(scope, tuple(scope in held for held in columns.values())) for scope in scopes.SCOPES
    ]
    context: dict[str, Any] = {"own": own, "columns": [*columns], "lines": lines}
    return access.show(request, "roles", _("Roles"), context)


@require_http_methods(["GET", "HEAD", "POST"])
@guards.needs("teams:write")
def new(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return _form(request, None, wanted=[])
    given, who = request.POST, guards.principal(request)
    team = teams.listing(who).filter(name=given.get("team", "")).first()
    wanted, description = given.getlist("scopes"), given.get("description", "")
    try:
        made = room.create(given.get("name", "").strip(), wanted, who, description, team)
    except Refusal as error:
        return _form(request, None, wanted, error)
    messages.success(request, _("The role %(name)s can be given now.") % {"name": made.name})
    return redirect("roles")


@require_http_methods(["GET", "HEAD", "POST"])
@guards.needs("teams:write")
def role(request: HttpRequest, name: str) -> HttpResponse:
    found, who, given = _named(request, name), guards.principal(request), request.POST
    if request.method != "POST":
        return _form(request, found, sorted(scopes.expand(found.scopes)))
    wanted = given.getlist("scopes")
    try:
        room.change(found, who, wanted, given.get("description", ""))
    except Refusal as error:
        return _form(request, found, wanted, error)
    done = _("%(name)s is changed, everywhere within two seconds.") % {"name": name}
    messages.success(request, done)
    return redirect("roles")


@require_POST
@guards.needs("teams:write")
def remove(request: HttpRequest, name: str) -> HttpResponse:
    found, who = _named(request, name), guards.principal(request)
    done = _("%(name)s is removed.") % {"name": name}
    gone = access.attempt(request, lambda: room.remove(found, who), done)
    return redirect("roles") if gone else redirect("role", name)


def _named(request: HttpRequest, name: str) -> Role:
    return get_object_or_404(room.listing(guards.principal(request)), name=name)


def _form(
    request: HttpRequest, found: Role | None, wanted: list[str], error: Refusal | None = None
) -> HttpResponse:
    who = guards.principal(request)
    context: dict[str, Any] = {
        "role": found,
        "wanted": wanted,
        "error": error,
        "given": request.POST,
        "offered": [scope for scope in scopes.SCOPES if who.allows(scope)],
        "teams": access.kept_teams(who),
    }
    title = found.name if found else _("New role")
    return access.show(request, "roles_form", title, context, 400 if error else 200)
