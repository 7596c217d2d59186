"""The second step of signing in: a code, a passkey, or enrolling one where the role asks for it."""

from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from accounts import factors, sign_in, throttle
from hub.dashboard import enrolment, guards


@login_not_required
@never_cache
@sensitive_post_parameters("code")
@require_http_methods(["GET", "HEAD", "POST"])
def second(request: HttpRequest) -> HttpResponse:
    """Ask who has shown the password for a code; a good one begins the session."""
    waiting = sign_in.waiting(request)
    if waiting is None:
        return redirect("login")
    if waiting.must_enrol:
        return redirect("login_enrol")
    refusal = _("That code is not right, or it was used already.")
    wait_s = 0
    if request.method == "POST":
        try:
            how = factors.verify(waiting.user, request.POST.get("code", ""))
        except factors.WrongCode:
            pass
        except throttle.TooMany as error:
            wait_s, refusal = error.retry_after_s, guards.wait_words(error.retry_after_s)
        else:
            sign_in.finish(request, waiting.user, how)
            return redirect(waiting.target)
    context: dict[str, Any] = {
        "title": _("Second step"),
        "held": factors.held(waiting.user),
        "refusal": refusal if request.method == "POST" else "",
    }
    return _answer(request, "pages/second.html", context, wait_s)


@login_not_required
@never_cache
@sensitive_post_parameters("code")
@require_http_methods(["GET", "HEAD", "POST"])
def enrol(request: HttpRequest) -> HttpResponse:
    """Let who must have a factor take an app now; only then the session begins."""
    waiting = sign_in.waiting(request)
    if waiting is None or not waiting.must_enrol:
        return redirect("login_second" if waiting else "login")
    draft = enrolment.draft(request, waiting.user)
    refusal, wait_s = "", 0
    if request.method == "POST":
        refusal, wait_s = enrolment.take(request, waiting.user, request.POST.get("code", ""))
        if not refusal:
            codes = factors.new_recovery_codes(waiting.user)
            sign_in.finish(request, waiting.user, "totp")
            context = {"title": _("Recovery codes"), "codes": codes, "target": waiting.target}
            return render(request, "pages/recovery_first.html", context)
    page: dict[str, Any] = {"title": _("Set up a second factor"), "refusal": refusal}
    return _answer(request, "pages/enrol.html", page | {"draft": draft}, wait_s)


def _answer(
    request: HttpRequest, template: str, context: dict[str, Any], wait_s: int
) -> HttpResponse:
    response = render(request, template, context)
    if request.method == "POST":
        response.status_code = 429 if wait_s else 401
    if wait_s:
        response["Retry-After"] = str(wait_s)
    return response
