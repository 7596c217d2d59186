"""`/api/schema` and `/api/docs`: for whoever is signed in or holds a key; the rest is refused."""

from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from accounts.permissions import ANYONE, HasScope, OneDoor


class Schema(SpectacularAPIView):
    """OpenAPI 3 of everything under /api/v1."""

    authentication_classes = [OneDoor]
    permission_classes = [HasScope]
    scopes = {"GET": ANYONE}


class Docs(SpectacularSwaggerSplitView):
    """Swagger UI from our own static files, without inline script."""

    authentication_classes = [OneDoor]
    permission_classes = [HasScope]
    scopes = {"GET": ANYONE}
    template_name = "api_docs.html"
    url_name = "api-schema"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Send a browser without a session to the login page."""
        headers = request.headers
        wants_page = "text/html" in headers.get("Accept", "")
        shows_key = "Authorization" in headers or "x-api-key" in headers
        if wants_page and not shows_key and not request.user.is_authenticated:
            return redirect_to_login(request.path)
        return super().dispatch(request, *args, **kwargs)


class OneDoorScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """What spectacular says of `OneDoor`."""

    target_class = "accounts.permissions.OneDoor"
    name = ["bearer", "apiKey", "session"]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        return [
            {"type": "http", "scheme": "bearer"},
            {"type": "apiKey", "in": "header", "name": "x-api-key"},
            {"type": "apiKey", "in": "cookie", "name": "sessionid"},
        ]
