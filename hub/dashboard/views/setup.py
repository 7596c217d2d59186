"""First start: the one-time link makes the admin; then a tour of what this machine can do."""

from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts import setup, sign_in
from accounts.people import PersonRefused
from hub.dashboard import guards, pages, snippets, steps
from hub.dashboard.views.keys import issue_first

PANELS = ["memory", "starters"]


@login_not_required
@never_cache
@sensitive_post_parameters("password", "again")
@require_http_methods(["GET", "HEAD", "POST"])
def link(request: HttpRequest, token: str) -> HttpResponse:
    """Make the admin account; a link that was used already, or never was one, says so."""
    if not setup.valid(token):
        needed = setup.needed()
        title = _("This link is not valid") if needed else _("This link is used up")
        context = {"title": title, "needed": needed}
        return render(request, "pages/setup_refused.html", context, status=404)
    if request.method != "POST":
        return _form(request, token, {})
    username, password = request.POST.get("username", ""), request.POST.get("password", "")
    if password != request.POST.get("again", ""):
        differ = [_("The two passwords differ. Write both again.")]
        return _form(request, token, {"password": differ}, username)
    try:
        admin = setup.redeem(token, username, password)
    except PersonRefused as error:
        return _form(request, token, {error.field: error.messages}, username)
    except setup.LinkRefused:
        return redirect("login")
    sign_in.finish(request, admin, "password")
    return redirect("welcome")


def _form(
    request: HttpRequest, token: str, errors: dict[str, list[str]], username: str = ""
) -> HttpResponse:
    context: dict[str, Any] = {
        "title": _("Welcome"),
        "token": token,
        "errors": errors,
        "username": username,
        "steps": steps.first(),
    }
    return render(request, "pages/setup.html", context, status=400 if errors else 200)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@guards.needs("models:write")
def welcome(request: HttpRequest) -> HttpResponse:
    """Show machine, models, a first chat and a first key; POST makes the key."""
    user, board = guards.person(request), pages.board(guards.principal(request))
    context: dict[str, Any] = {
        "board": board,
        "data_folder": settings.HUB_DATA,
        "chat_model": snippets.chat_model(guards.principal(request)),
        "has_key": user.api_keys.exists(),
    }
    if request.method == "POST":
        context["plaintext"] = issue_first(user)
        context["snippets"] = snippets.first_chat(request, context["plaintext"])
    context["steps"] = steps.of(user, board)
    return pages.show(request, "pages/welcome.html", _("Welcome"), PANELS, context)
