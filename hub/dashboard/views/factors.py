"""My account: the authenticator app and the recovery codes."""

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from accounts import factors, strength
from hub.dashboard import enrolment, guards, pages


@never_cache
@sensitive_post_parameters("code")
@require_http_methods(["GET", "HEAD", "POST"])
@guards.proved
def app(request: HttpRequest) -> HttpResponse:
    """Show the secret as a picture; a code of the app takes it into use."""
    user = guards.person(request)
    refusal = ""
    if request.method == "POST":
        refusal, _wait_s = enrolment.take(request, user, request.POST.get("code", ""))
        if not refusal:
            request.session[strength.HOW] = "totp"
            messages.success(request, _("Your authenticator app is set up."))
            return redirect("account" if factors.held(user).recovery_codes else "recovery")
    context: dict[str, Any] = {"draft": enrolment.draft(request, user), "refusal": refusal}
    title, status = _("Authenticator app"), 400 if refusal else 200
    return pages.show(request, "pages/account_app.html", title, context=context, status=status)


@require_POST
@guards.proved
def remove_app(request: HttpRequest) -> HttpResponse:
    user = guards.person(request)
    if is_last(request):
        return redirect("account")
    factors.remove_totp(user)
    messages.success(request, _("The authenticator app is removed."))
    return redirect("account")


def is_last(request: HttpRequest) -> bool:
    """Tell, in words too, whether the role asks for the factor that would go."""
    user = guards.person(request)
    held = factors.held(user)
    if user.role not in strength.required_roles() or held.passkeys + held.totp > 1:
        return False
    messages.error(request, _("Your role asks for a second factor: set up another one first."))
    return True


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@guards.proved
def recovery(request: HttpRequest) -> HttpResponse:
    """Say what the codes are for; POST makes new ones and shows them this one time."""
    user = guards.person(request)
    held = factors.held(user)
    if not held.any:
        messages.error(request, _("Set up an authenticator app or a passkey first."))
        return redirect("account")
    codes = factors.new_recovery_codes(user) if request.method == "POST" else []
    context: dict[str, Any] = {"held": held, "codes": codes}
    title = _("Recovery codes")
    return pages.show(request, "pages/account_recovery.html", title, context=context)
