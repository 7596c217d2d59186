"""Signing in and out."""

from typing import Any

from django.contrib.auth import login, logout
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from accounts import setup
from accounts.forms import SignInForm


@login_not_required
@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Show the form; a good name and password lead to where the visitor wanted to go."""
    if request.user.is_authenticated:
        return redirect(_target(request))
    form = SignInForm(request, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        login(request, form.get_user())
        return redirect(_target(request))
    context: dict[str, Any] = {
        "title": _("Sign in"),
        "refusal": _refusal(form),
        "username": request.POST.get("username", ""),
        "setup_needed": setup.needed(),
    }
    response = render(request, "pages/login.html", context)
    if form.is_bound:
        response.status_code = 429 if form.wait_s else 401
    if form.wait_s:
        response["Retry-After"] = str(form.wait_s)
    return response


def _refusal(form: SignInForm) -> str:
    """Never tell whether it was the name or the password."""
    if form.wait_s:
        return _("Too many attempts. Try again in %(seconds)s s.") % {"seconds": form.wait_s}
    return _("The user name or the password is not right.") if form.is_bound else ""


@login_not_required
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return redirect("login")


def _target(request: HttpRequest) -> str:
    """Go back to a page of ours only."""
    wanted = request.GET.get("next", "")
    ours = {request.get_host()}
    safe = url_has_allowed_host_and_scheme(wanted, ours, require_https=request.is_secure())
    return wanted if safe else "/"
