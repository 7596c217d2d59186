"""Access: what its pages share. People, teams, roles and programs have a module each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from accounts import teams
from accounts.denials import Refusal
from accounts.principals import Principal
from hub.dashboard import guards, pages

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.utils.functional import _StrPromise

    from accounts.models import Team


@dataclass(frozen=True, slots=True)
class Tab:
    """A part of Access; `route` is a URL name."""

    route: str
    title: "_StrPromise"
    icon: str
    scope: str


TABS = (
    Tab("people", _("People"), "users", "admin:users"),
    Tab("teams", _("Teams"), "stack-2", "teams:read"),
    Tab("roles", _("Roles"), "adjustments", "teams:read"),
    Tab("programs", _("Service accounts"), "code", "teams:read"),
    Tab("visits", _("Signed-in browsers"), "device-desktop", "admin:users"),
)


@require_safe
@guards.needs("teams:read")
def access(request: HttpRequest) -> HttpResponse:
    """Lead to the first part that this person may open."""
    return redirect(tabs(guards.principal(request))[0].route)


def tabs(who: Principal) -> list[Tab]:
    return [tab for tab in TABS if who.allows(tab.scope)]


def kept_teams(who: Principal) -> "QuerySet[Team]":
    """Give the teams whose service accounts and roles this person keeps."""
    found = teams.listing(who)
    return found if who.sees_all else found.filter(pk__in=who.manages)


def show(
    request: HttpRequest, tab: str, title: str, context: dict[str, Any], status: int = 200
) -> HttpResponse:
    """Render `pages/access_TAB.html` under the tabs of Access."""
    context |= {"tabs": tabs(guards.principal(request)), "tab": tab.partition("_")[0]}
    return pages.show(request, f"pages/access_{tab}.html", title, context=context, status=status)


def attempt(request: HttpRequest, act: Callable[[], object], done: str) -> bool:
    """Do it and say so, or say why not."""
    try:
        act()
    except Refusal as error:
        messages.error(request, error.message)
        return False
    messages.success(request, done)
    return True
