"""Middleware: a session that was begun too weakly for its person's role ends; the others are noted."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.deprecation import MiddlewareMixin

from accounts import strength, visits
from accounts.backends import address_of
from accounts.models import User


class KnownBrowser(MiddlewareMixin):
    """Asked before each view, once Django knows who it is."""

    def process_view(
        self, request: HttpRequest, _view: Callable[..., Any], _args: Any, _kwargs: Any
    ) -> HttpResponse | None:
        user = getattr(request, "user", None)
        if request.path.startswith("/api/"):  # the one door asks the same there
            return None
        if not isinstance(user, User) or request.session.session_key is None:
            return None
        if not strength.holds(request.session, user):
            logout(request)
            return redirect("login")
        visits.seen(visits.key_of(request), address_of(request))
        return None
