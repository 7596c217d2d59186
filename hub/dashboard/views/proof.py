"""Who are you, again: asked before a change that a thief at an open browser would make."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts import factors, throttle, visits
from accounts.backends import address_of
from accounts.models import User
from hub.dashboard import guards


@never_cache
@sensitive_post_parameters("password", "code")
@require_http_methods(["GET", "HEAD", "POST"])
def again(request: HttpRequest) -> HttpResponse:
    """Take the password or a code; then go back to what was asked for."""
    user = guards.person(request)
    held = factors.held(user)
    refusal, wait_s = "", 0
    if request.method == "POST":
        refusal, wait_s = _check(request, user)
        if not refusal:
            visits.prove(request)
            return redirect(guards.own_target(request))
    context: dict[str, Any] = {
        "title": _("Is it you?"),
        "held": held,
        "has_password": user.has_usable_password(),
        "can_prove": user.has_usable_password() or held.any,
        "username": user.username,
        "refusal": refusal,
    }
    page = render(request, "pages/again.html", context)
    if refusal:
        page.status_code = 429 if wait_s else 401
    if wait_s:
        page["Retry-After"] = str(wait_s)
    return page


def _check(request: HttpRequest, user: User) -> tuple[str, int]:
    """Give what is wrong, in words, and how long to wait."""
    try:
        if code := request.POST.get("code", ""):
            factors.verify(user, code)
            return "", 0
        throttle.attempt(user.username, address_of(request))
        if user.has_usable_password() and user.check_password(request.POST.get("password", "")):
            throttle.forgive(user.username, address_of(request))
            return "", 0
    except factors.WrongCode:
        return _("That code is not right, or it was used already."), 0
    except throttle.TooMany as error:
        return guards.wait_words(error.retry_after_s), error.retry_after_s
    return _("The password is not right."), 0
