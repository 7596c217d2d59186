"""Signing in and out."""

from typing import Any

from django.contrib.auth import login, logout
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import AuthenticationForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from accounts import setup


@login_not_required
@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Show the form; a good name and password lead to where the visitor wanted to go."""
    if request.user.is_authenticated:
        return redirect(_target(request))
    form = AuthenticationForm(request, request.POST or None)
    if request.method == "POST" and form.is_valid():
        login(request, form.get_user())
        return redirect(_target(request))
    refused = request.method == "POST"
    context: dict[str, Any] = {
        "title": _("Sign in"),
        "refusal": _("The user name or the password is not right.") if refused else "",
        "username": request.POST.get("username", ""),
        "setup_needed": setup.needed(),
    }
    return render(request, "pages/login.html", context, status=401 if refused else 200)


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
