"""Passkeys in the browser: added on My account, shown at the sign-in, as its second step and as a proof."""

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.request import RawPostDataException
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from accounts import factors, passkeys, sign_in, strength, throttle, visits
from accounts.backends import address_of
from accounts.passkeys import PasskeyRefused
from hub.dashboard import guards
from hub.dashboard.views.factors import is_last
from inference.errors import HubError
from inference.openai import bounded_json

KEPT = "hub_passkey"  # session key
MAX_BYTES = 64 * 1024
ADDRESS = throttle.Rule(60, 15 * 60)


@never_cache
@require_POST
@guards.proved
def begin_adding(request: HttpRequest) -> HttpResponse:
    try:
        options, request.session[KEPT] = passkeys.begin_adding(guards.person(request))
    except PasskeyRefused:
        return _refused(_("There are too many passkeys already."))
    return JsonResponse(options)


@never_cache
@require_POST
@guards.proved
def add(request: HttpRequest) -> HttpResponse:
    """Keep what the device made; the first factor leads on to recovery codes."""
    user = guards.person(request)
    try:
        kept, answer = request.session.pop(KEPT, {}), _body(request)
        passkeys.add(user, kept, answer["credential"], str(answer.get("name", "")))
    except (PasskeyRefused, KeyError):
        return _refused(_("The passkey was not accepted."))
    request.session[strength.HOW] = "passkey"
    messages.success(request, _("The passkey is set up."))
    has_codes = factors.held(user).recovery_codes
    return JsonResponse({"next": "/account/" if has_codes else "/account/recovery/"})


@require_POST
@guards.proved
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    user = guards.person(request)
    if not user.passkeys.filter(pk=pk).exists():
        raise Http404
    if not is_last(request):
        passkeys.remove(user, pk)
        messages.success(request, _("The passkey is removed."))
    return redirect("account")


@login_not_required
@never_cache
@require_POST
def begin_entering(request: HttpRequest) -> HttpResponse:
    """Ask for a passkey: of who waits for the second step, of who is signed in, or of anybody."""
    if (wait := _wait(request)) is not None:
        return wait
    waiting = sign_in.waiting(request)
    signed_in = guards.person(request) if request.user.is_authenticated else None
    options, request.session[KEPT] = passkeys.begin_entering(waiting.user if waiting else signed_in)
    return JsonResponse(options)


@login_not_required
@never_cache
@require_POST
def enter(request: HttpRequest) -> HttpResponse:
    """Begin the session, or note the proof of who is signed in already."""
    try:
        kept, answer = request.session.pop(KEPT, {}), _body(request)
        user = passkeys.enter(kept, answer["credential"])
    except (PasskeyRefused, KeyError):
        return _refused(_("The passkey was not accepted."))
    throttle.give_back(_counter(request), ADDRESS)
    if request.user.is_authenticated:
        if user.pk != request.user.pk:
            return _refused(_("The passkey was not accepted."))
        visits.prove(request)
        return JsonResponse({"next": guards.own_target(request)})
    waiting = sign_in.waiting(request)
    sign_in.finish(request, user, "passkey")
    return JsonResponse({"next": waiting.target if waiting else guards.own_target(request)})


def _wait(request: HttpRequest) -> HttpResponse | None:
    try:
        throttle.count(_counter(request), ADDRESS)
    except throttle.TooMany as error:
        answer = _refused(guards.wait_words(error.retry_after_s), 429)
        answer["Retry-After"] = str(error.retry_after_s)
        return answer
    return None


def _counter(request: HttpRequest) -> str:
    return throttle.from_address("passkey", address_of(request))


def _body(request: HttpRequest) -> dict[str, Any]:
    """Raises: PasskeyRefused; also for a form, which was read before it came here."""
    try:
        found = bounded_json.parse(request.body, MAX_BYTES)
    except (RawPostDataException, HubError) as error:
        raise PasskeyRefused from error
    if not isinstance(found, dict):
        raise PasskeyRefused
    return found


def _refused(reason: str, status: int = 400) -> HttpResponse:
    return JsonResponse({"reason": reason}, status=status)
