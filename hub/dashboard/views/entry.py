"""Signing in and out."""

from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from accounts import passkeys, setup, sign_on
from accounts import sign_in as sign_in_room
from accounts.forms import SignInForm
from accounts.models import User
from hub.dashboard import guards
from hub.dashboard.views import sign_on as sign_on_views


@login_not_required
@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Show the form; a good name and password lead to where the visitor wanted to go."""
    target = guards.own_target(request)
    if request.user.is_authenticated:
        return redirect(target)
    form = SignInForm(request, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        return _begin(request, form.get_user(), target)
    context: dict[str, Any] = {
        "title": _("Sign in"),
        "refusal": _refusal(form),
        "username": request.POST.get("username", ""),
        "setup_needed": setup.needed(),
        "providers": sign_on.providers(),
        "passkeys_here": passkeys.works_at(request.get_host()),
    }
    response = render(request, "pages/login.html", context)
    if form.is_bound:
        response.status_code = 429 if form.wait_s else 401
    if form.wait_s:
        response["Retry-After"] = str(form.wait_s)
    return response


def _begin(request: HttpRequest, user: Any, target: str) -> HttpResponse:
    """Sign in, or ask for the second step first."""
    done = isinstance(user, User) and sign_in_room.first_step(request, user, "password", target)
    return redirect(target if done else "login_second")


def _refusal(form: SignInForm) -> str:
    """Never tell whether it was the name or the password."""
    if form.wait_s:
        return guards.wait_words(form.wait_s)
    return _("The user name or the password is not right.") if form.is_bound else ""


@login_not_required
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    provider, way_out = sign_on_views.way_out(request)
    sign_in_room.end(request)
    if not way_out:
        return redirect("login")
    context = {"title": _("Signed out"), "provider": provider, "way_out": way_out}
    return render(request, "pages/signed_out.html", context)
