"""OAuth2 at the door: the consent page, tokens, their end, what a token is, and where all this lies."""

import base64
import binascii
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe
from oauth2_provider.exceptions import FatalClientError
from oauth2_provider.views import AuthorizationView, RevokeTokenView, TokenView
from oauthlib.oauth2 import InvalidClientIdError, OAuth2Error

from accounts import applications, oauth, scopes, throttle
from accounts.backends import address_of
from accounts.models import Application
from hub.dashboard import guards

PER_ADDRESS = throttle.Rule(300, 60)


class Consent(AuthorizationView):  # type: ignore[misc] # the library has no types
    """Say in words what an application wants, and ask; nothing is given without a click."""

    http_method_names = ["get", "head", "post"]  # Django takes a PUT for a POST here
    template_name = "pages/consent.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)
        who = guards.principal(self.request)
        asked = [*self.oauth2_data.get("scopes", [])]
        lacks = [name for name in asked if not who.allows(name)]
        host = urlsplit(self.oauth2_data.get("redirect_uri") or "").netloc
        return context | {
            "title": _("Let an application in?"),
            "who": who,
            "asked": asked,
            "lacks": lacks,
            "leads_to": host or self.oauth2_data.get("redirect_uri"),
        }

    def form_valid(self, form: Any) -> HttpResponse:
        """The form came back from a browser: nothing in it is known to be as it went out."""
        if (wrong := _wrong_in(form.cleaned_data)) is not None:
            answer: HttpResponse = self.error_response(FatalClientError(wrong), None)
            return answer
        response: HttpResponse = super().form_valid(form)
        if form.cleaned_data.get("allow") and "code=" in response.get("Location", ""):
            fields = form.cleaned_data
            applications.note_allowed(fields["client_id"], fields["scope"].split())
        return response

    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        """The form may lead on to the application's own address, and to no other."""
        response: HttpResponse = super().render_to_response(context, **kwargs)
        uri = urlsplit(self.oauth2_data.get("redirect_uri") or "")
        if uri.scheme:
            place = f"{uri.scheme}://{uri.netloc}" if uri.netloc else f"{uri.scheme}:"
            response._csp_update = {"form-action": [place]}  # type: ignore[attr-defined] # noqa: SLF001
        return response


def _wrong_in(fields: dict[str, Any]) -> OAuth2Error | None:
    if not Application.objects.filter(client_id=fields["client_id"]).exists():
        return InvalidClientIdError()
    try:
        for uri in (fields.get("resource") or "").split():
            oauth.check_resource(uri)
    except OAuth2Error as error:
        return error
    return None


class Tokens(TokenView):  # type: ignore[misc]
    """Codes and client credentials become tokens here; guesses are counted."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            throttle.count(throttle.from_address("oauth", address_of(request)), PER_ADDRESS)
        except throttle.TooMany as error:
            wait = {"Retry-After": str(error.retry_after_s)}
            return JsonResponse({"error": "slow_down"}, status=429, headers=wait)
        # Past the library's own way to a grant of devices.
        response: HttpResponse = self.authorization_flow_token_response(request)
        response["Content-Type"] = "application/json"  # the library leaves it out of some errors
        return response


class Revoke(RevokeTokenView):  # type: ignore[misc]
    http_method_names = ["post"]


@csrf_exempt
@login_not_required
@require_POST
def introspect(request: HttpRequest) -> HttpResponse:
    """Tell an application what a token of its own is worth now. Source: RFC 7662."""
    app = _client(request)
    if app is None:
        wanted = {"WWW-Authenticate": 'Basic realm="hub"'}
        return JsonResponse({"error": "invalid_client"}, status=401, headers=wanted)
    text = request.POST.get("token", "")
    found = applications.token_of(text) if applications.is_token(text) else None
    if found is None or found.client_id != app.client_id:
        return JsonResponse({"active": False})
    told = {
        "active": True,
        "scope": " ".join(sorted(name for name in found.scopes if found.user.allows(name))),
        "client_id": found.client_id,
        "username": found.user.username,
        "exp": int(found.ends_at.timestamp()),
        "token_type": "Bearer",
    }
    return JsonResponse(told, headers={"Cache-Control": "no-store"})


def _client(request: HttpRequest) -> Application | None:
    """Give the application that shows its secret, by header or in the form."""
    client_id, secret = request.POST.get("client_id", ""), request.POST.get("client_secret", "")
    word, _space, coded = request.headers.get("Authorization", "").partition(" ")
    if word.lower() == "basic":
        try:
            pair = base64.b64decode(coded, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return None
        client_id, secret = (unquote_plus(part) for part in (pair + ":").split(":")[:2])
    app = Application.objects.filter(client_id=client_id).exclude(client_secret="").first()
    return app if app and applications.is_secret(secret, app.client_secret) else None


@login_not_required
@require_safe
def metadata(request: HttpRequest) -> HttpResponse:
    """Say where all this lies. Source: RFC 8414."""
    base = settings.HUB_PUBLIC_URL or f"{request.scheme}://{request.get_host()}"
    methods = ["client_secret_basic", "client_secret_post"]
    return JsonResponse(
        {
            "issuer": base,
            "authorization_endpoint": base + reverse("oauth2_provider:authorize"),
            "token_endpoint": base + reverse("oauth2_provider:token"),
            "revocation_endpoint": base + reverse("oauth2_provider:revoke-token"),
            "introspection_endpoint": base + reverse("oauth2_provider:introspect"),
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": [*methods, "none"],
            "authorization_response_iss_parameter_supported": True,
            "scopes_supported": list(scopes.OFFERED),
        }
    )
