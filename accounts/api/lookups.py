"""Rows that a path or a body names: what the caller may not see is not there."""

from django.http import Http404
from rest_framework.request import Request

from accounts import teams
from accounts.denials import Refusal
from accounts.models import Membership, Team, User
from accounts.permissions import principal_of


def team_of(request: Request, name: str) -> Team:
    """Raises: Http404."""
    found = teams.listing(principal_of(request)).filter(name=name).first()
    if found is None:
        raise Http404
    return found


def team_in(request: Request, name: str | None) -> Team | None:
    """Raises: Refusal, where a body names a team that is not there."""
    if name is None:
        return None
    found = teams.listing(principal_of(request)).filter(name=name).first()
    if found is None:
        raise Refusal(f"There is no team named {name[:64]}, or it is not yours.", "team")
    return found


def member_of(request: Request, team: str, username: str) -> Membership:
    """Raises: Http404."""
    rows = Membership.objects.select_related("team", "user")
    found = rows.filter(team=team_of(request, team), user__username=username).first()
    if found is None:
        raise Http404
    return found


def joining(username: str) -> User:
    """Find who may come into a team: a person or a hub-wide service account. Raises: Http404."""
    found = User.objects.select_related("team").filter(username=username).first()
    if found is None or found.is_bound:
        raise Http404
    return found


def user_of(username: str, kind: str) -> User:
    """Raises: Http404."""
    found = User.objects.select_related("team").filter(username=username, kind=kind).first()
    if found is None:
        raise Http404
    return found
