"""Whose a model is and who sees it, changed on its page."""

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from accounts import teams
from accounts.models import Visibility
from accounts.principals import Principal
from hub.dashboard import guards, pages
from inference import owners
from inference.errors import HubError


@require_POST
@guards.needs(owners.SCOPE)
def own(request: HttpRequest, name: str) -> HttpResponse:
    """Give a model to another team, or show it to others."""
    row, who = guards.model(request, name, owners.SCOPE), guards.principal(request)
    team, visibility = request.POST.get("team") or None, request.POST.get("visibility")
    try:
        owners.change(row, who, team, visibility if visibility in Visibility.values else None)
    except HubError as error:
        messages.error(request, pages.failure_text(error))
    else:
        told = {"name": name, "team": row.team.name}
        messages.success(request, _("%(name)s belongs to %(team)s now.") % told)
    return redirect("model", name)


def teams_of(who: Principal) -> list[str]:
    """Name the teams that a model could be given to."""
    return [team.name for team in teams.listing(who) if who.allows_in(owners.SCOPE, team.pk)]
