"""How DRF asks the one door: authentication, scopes and a throttle for every management call."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import MethodNotAllowed, UnsupportedMediaType, ValidationError
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from accounts import actors, limits, refusals, throttle
from accounts.authentication import SAFE_METHODS, Refused, authenticate_now, raw_headers
from accounts.backends import address_of
from accounts.principals import Principal

if TYPE_CHECKING:  # DRF imports this module while its own views are being imported
    from rest_framework.views import APIView

ANYONE = ""  # in place of a scope: whoever is signed in or holds a key
PLAIN = frozenset({"", "identity"})  # content codings
MANAGEMENT = throttle.Rule(600, 60)  # calls of one caller per minute


class OneDoor(BaseAuthentication):
    """Bearer, x-api-key or session: the same function as everywhere."""

    def authenticate(self, request: Request) -> tuple[Any, Principal]:
        """Raises: Refused; hub.envelope turns it into an answer."""
        plain: HttpRequest = request._request  # noqa: SLF001 (DRF's own way to the request)
        scope, headers, address = getattr(plain, "scope", {}), raw_headers(plain), address_of(plain)
        try:
            principal = authenticate_now(
                headers, address, request.method or "", plain.scheme or "http"
            )
        except Refused as error:
            refusals.at_the_door(error, headers, address, scope.get("request_id", ""))
            raise
        actor = actors.of(principal, address, scope.get("request_id", ""))
        actors.bind(lambda: actor)
        noted = scope.get("noted", {})
        noted.update({"user_id": principal.user_id, "key_id": principal.key_id or "session"})
        return principal, principal

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="hub"'


class HasScope(BasePermission):
    """A view names its scopes by method: `scopes = {"GET": "models:read"}`; deny by default."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        """Raises: MethodNotAllowed; Refused, with the scope's name."""
        scopes: dict[str, str] = getattr(view, "scopes", {})
        if request.method not in scopes:
            raise MethodNotAllowed(request.method or "")
        if (needed := scopes[request.method]) != ANYONE:
            refusals.require(principal_of(request), needed)
        return True


class KnownQuery(BasePermission):
    """A view names its query parameters by method: `query = {"GET": ["page"]}`; no other passes."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        """Raises: ValidationError, with the parameter's name."""
        known: dict[str, Collection[str]] = getattr(view, "query", {})
        for name in sorted({*request.query_params} - {*known.get(request.method or "", ())}):
            raise ValidationError({name[:100]: ["unknown query parameter"]}, code="unknown")
        return True


class PlainBody(BasePermission):
    """A body that is compressed, or coded otherwise, would be read as something else."""

    def has_permission(self, request: Request, view: "APIView") -> bool:
        """Raises: UnsupportedMediaType, with the header's name."""
        coding = request.headers.get("Content-Encoding", "").strip().lower()
        if coding not in PLAIN:
            words = f"send the body as it is: the header Content-Encoding says {coding[:100]}"
            raise UnsupportedMediaType(coding, detail=words)
        return True


class PerCaller(BaseThrottle):
    """Management calls are few: an own, simple limit, within the caller's requests per minute."""

    retry_after_s: int | None = None

    def allow_request(self, request: Request, view: "APIView") -> bool:
        """Raises: LimitReached."""
        who = principal_of(request)
        try:
            throttle.count(f"api:{who.key_id or who.user_id}", MANAGEMENT)
        except throttle.TooMany as error:
            self.retry_after_s = error.retry_after_s
            return False
        plain: HttpRequest = request._request  # noqa: SLF001 (the middleware's own)
        try:
            plain.limit_headers = limits.count_now(who)  # type: ignore[attr-defined]
        except limits.LimitReached as error:
            plain.limit_headers = error.headers()  # type: ignore[attr-defined]
            raise
        return True

    def wait(self) -> float | None:
        return self.retry_after_s


def require_in(request: Request, team: int) -> None:
    """Ask for the view's scope in the team that owns what is to be changed. Raises: Refused."""
    view = (request.parser_context or {}).get("view")
    needed = getattr(view, "scopes", {}).get(request.method, ANYONE)
    if request.method not in SAFE_METHODS and not principal_of(request).allows_in(needed, team):
        raise Refused("scope", f"This needs the scope {needed} in the team that owns it.")


def principal_of(request: Request) -> Principal:
    """Return who asks; only behind `OneDoor`."""
    principal = request.auth
    if not isinstance(principal, Principal):
        raise TypeError("a view without OneDoor asked for its principal")
    return principal
