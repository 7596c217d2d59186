"""Single sign-on: to the provider and back; what signing in asks for; the providers themselves."""

import time
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_not_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts import journeys, oidc, sign_in, sign_on
from accounts.journeys import Journey, SignOnFailed
from accounts.models import Identity, Provider
from hub.dashboard import guards

KEPT = "hub_sign_on"  # session keys
CAME_BY = "hub_provider"
JOURNEY_S = 10 * 60


@login_not_required
@never_cache
@require_safe
def start(request: HttpRequest, slug: str) -> HttpResponse:
    """Send the visitor to the provider."""
    return _depart(request, _provider(slug), guards.own_target(request), connects=False)


@never_cache
@require_POST
@guards.proved
def connect(request: HttpRequest, slug: str) -> HttpResponse:
    """Send a signed-in person there, to enter by it from then on."""
    guards.person(request)
    return _depart(request, _provider(slug), reverse("account"), connects=True)


def _depart(
    request: HttpRequest, provider: Provider, target: str, *, connects: bool
) -> HttpResponse:
    try:
        url, journey = sign_on.begin(sign_on.client_of(provider, _back_url(request, provider)))
    except SignOnFailed as error:
        return _refused(request, error)
    kept = {"slug": provider.slug, "target": target, "connects": connects, "at": int(time.time())}
    request.session[KEPT] = {**kept, "journey": journey.kept()}
    if connects:  # a form leads to pages of ours only; a link leads on
        context = {"title": provider.name, "name": provider.name, "url": url}
        return render(request, "pages/sign_on_go.html", context)
    return redirect(url)


@login_not_required
@never_cache
@require_safe
def back(request: HttpRequest, slug: str) -> HttpResponse:
    """Take the provider's answer, once."""
    kept = request.session.pop(KEPT, None)
    try:
        if not kept or kept["slug"] != slug or not 0 <= time.time() - kept["at"] < JOURNEY_S:
            raise SignOnFailed(
                _("This sign-in took too long, or was begun elsewhere. Begin again.")
            )
        return _arrive(request, _provider(slug), kept)
    except SignOnFailed as error:
        return _refused(request, error)


def _arrive(request: HttpRequest, provider: Provider, kept: dict[str, Any]) -> HttpResponse:
    """Raises: SignOnFailed."""
    client = sign_on.client_of(provider, _back_url(request, provider))
    claims = sign_on.finish(client, Journey(**kept["journey"]), request.GET.dict())
    if kept["connects"]:
        sign_on.connect(provider, claims, guards.person(request))
        messages.success(request, _("You can sign in with %(name)s now.") % {"name": provider.name})
        return redirect("account")
    user = sign_on.enter(provider, claims)
    how = "sso" if provider.vouches_factor else "provider"
    done = sign_in.first_step(request, user, how, kept["target"])
    request.session[CAME_BY] = provider.slug
    return redirect(kept["target"] if done else "login_second")


@require_POST
@guards.proved
def disconnect(request: HttpRequest, pk: int) -> HttpResponse:
    identity = Identity.objects.filter(pk=pk, user=guards.person(request)).first()
    if identity is None:
        raise Http404
    try:
        sign_on.disconnect(identity)
    except SignOnFailed as error:
        messages.error(request, _(str(error)))
    else:
        messages.success(request, _("That sign-on is disconnected."))
    return redirect("account")


def way_out(request: HttpRequest) -> tuple[str, str]:
    """Give name and address where to sign out of the provider too; empty where there is none."""
    provider = sign_on.find(str(request.session.get(CAME_BY, "")))
    if provider is None or provider.oauth2:
        return "", ""
    try:
        end = oidc.discover(provider.issuer).end_session_endpoint
        journeys.check_url(end)
    except SignOnFailed:
        return "", ""
    home = _base(request) + reverse("login")
    query = urlencode({"client_id": provider.client_id, "post_logout_redirect_uri": home})
    return provider.name, f"{end}{'&' if '?' in end else '?'}{query}"


def _provider(slug: str) -> Provider:
    found = sign_on.find(slug)
    if found is None:
        raise Http404
    return found


def _back_url(request: HttpRequest, provider: Provider) -> str:
    return _base(request) + reverse("sign_on_back", args=[provider.slug])


def _base(request: HttpRequest) -> str:
    """Its own address as it is configured; else as the visitor calls it, if that is one of ours."""
    return settings.HUB_PUBLIC_URL or f"{request.scheme}://{request.get_host()}"


def _refused(request: HttpRequest, error: SignOnFailed) -> HttpResponse:
    context = {"title": _("That did not work"), "reason": _(str(error))}
    return render(request, "pages/sign_on_failed.html", context, status=403)
