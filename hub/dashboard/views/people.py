"""Access: people, their role on the hub and the teams they are in."""

from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import people as room
from accounts import roles, scopes
from accounts.denials import Refusal
from accounts.models import Team, User
from accounts.principals import Principal
from hub.dashboard import guards
from hub.dashboard.views import access

if TYPE_CHECKING:
    from django.db.models import QuerySet

PAGE_ROWS = 50
PERSON = User.Kind.PERSON


@require_safe
@guards.needs(room.SCOPE)
def people(request: HttpRequest) -> HttpResponse:
    """List people by name."""
    search = request.GET.get("q", "").strip()[:150]
    rows = User.objects.filter(kind=PERSON, username__icontains=search)
    rows = rows.prefetch_related("memberships__team").order_by("username")
    page = Paginator(rows, PAGE_ROWS).get_page(request.GET.get("page"))
    return access.show(request, "people", _("People"), {"page": page, "search": search})


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
@guards.needs(room.SCOPE)
def new(request: HttpRequest) -> HttpResponse:
    """Show the form, or make the account."""
    if request.method != "POST":
        return _form(request)
    given, who = request.POST, guards.principal(request)
    try:
        made = room.create(
            given.get("username", ""),
            given.get("password", ""),
            given.get("role", ""),
            by=who,
            team=_first_team(who, given.get("team", "")),
        )
    except Refusal as error:
        return _form(request, error)
    messages.success(request, _("%(name)s can sign in now.") % {"name": made.username})
    return redirect("person", made.username)


@require_safe
@guards.needs(room.SCOPE)
def person(request: HttpRequest, username: str) -> HttpResponse:
    """Show one person: role, teams, keys."""
    user = _named(username)
    context: dict[str, Any] = {
        "person": user,
        "roles": offered(guards.principal(request)),
        "memberships": user.memberships.select_related("team").order_by("team__name"),
        "n_keys": user.api_keys.working().count(),
    }
    return access.show(request, "people_one", username, context)


@sensitive_post_parameters("password")
@require_POST
@guards.needs(room.SCOPE)
def change(request: HttpRequest, username: str) -> HttpResponse:
    """Give another role, disable or enable, or set a password."""
    user, given, who = _named(username), request.POST, guards.principal(request)
    wanted: dict[str, Any] = {}
    if "role" in given:
        wanted["role"] = given["role"]
    if "active" in given:
        wanted["is_active"] = given["active"] == "yes"
    if given.get("password"):
        wanted["password"] = given["password"]
    done = _("%(name)s is changed, everywhere within two seconds.") % {"name": username}
    access.attempt(request, lambda: room.change(user, who, **wanted), done)
    return redirect("person", username)


@require_POST
@guards.needs(room.SCOPE)
def remove(request: HttpRequest, username: str) -> HttpResponse:
    user, who = _named(username), guards.principal(request)
    done = _("%(name)s is removed.") % {"name": username}
    gone = access.attempt(request, lambda: room.remove(user, who), done)
    return redirect("people") if gone else redirect("person", username)


def offered(who: Principal, team: Team | None = None) -> list[str]:
    """Name the roles that somebody may give: on the hub, or in a team."""
    own = roles.listing(who)
    rows = [role for role in own if role.team_id in {None, team.pk if team else None}]
    every = {**scopes.ROLES, **{role.name: scopes.expand(role.scopes) for role in rows}}

    def held(scope: str) -> bool:
        return who.allows(scope) if team is None else who.allows_in(scope, team.pk)

    leaves = scopes.ADMIN if team is not None else frozenset[str]()
    return [name for name, wanted in every.items() if all(map(held, wanted - leaves))]


def _named(username: str) -> User:
    return get_object_or_404(User, username=username, kind=PERSON)


def _open_teams(who: Principal) -> "QuerySet[Team]":
    """Give the teams in which this person may make somebody: the default one and those they keep."""
    kept = access.kept_teams(who).values("pk")
    return Team.objects.filter(Q(is_default=True) | Q(pk__in=kept))


def _first_team(who: Principal, name: str) -> Team:
    """Raises: Refusal."""
    found = _open_teams(who).filter(name=name).first()
    if found is None:
        words = _("There is no team named %(name)s, or it is not yours.") % {"name": name[:64]}
        raise Refusal(words, "team")
    return found


def _form(request: HttpRequest, error: Refusal | None = None) -> HttpResponse:
    context: dict[str, Any] = {
        "error": error,
        "given": request.POST,
        "roles": offered(guards.principal(request)),
        "teams": _open_teams(guards.principal(request)),
    }
    return access.show(request, "people_new", _("New person"), context, 400 if error else 200)
