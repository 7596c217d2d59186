"""The door of websockets: who may open one from a browser page, and how many."""

from collections import Counter
from collections.abc import Sequence
from urllib.parse import urlsplit

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from django.urls import URLPattern

from accounts import actors, notices
from accounts.principals import Principal
from hub.middleware import App, Receive, Scope, Send, header

REFUSED = 4403  # close codes of the hub's own
TOO_MANY = 4429
MOST_OF_ONE = 20  # of one person or service account, over all credentials
MOST_OF_ALL = 1000  # of this process; 22 kB each
DEFAULT_PORTS = {"http": 80, "https": 443}
Place = tuple[str, str, int]  # scheme, host, port


class SameOrigin:
    """Let in only pages of the hub's own: same scheme, host and port as were called.

    A browser that names no origin, or "null", is none of them: other programs use the API.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _may_enter(scope):
            await self.app(scope, receive, send)
        else:
            refused(scope, "origin")
            await send({"type": "websocket.close", "code": REFUSED})


class Routed:
    """Close what no route is for: the router behind would raise."""

    def __init__(self, app: App, routes: Sequence[URLPattern]) -> None:
        self.app = app
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix("/")
        if any(route.resolve(path) is not None for route in self.routes):
            await self.app(scope, receive, send)
        else:
            refused(scope, "path")
            await send({"type": "websocket.close", "code": REFUSED})


def refused(scope: Scope, reason: str, who: Principal | None = None) -> None:
    """Tell the audit log of a socket that was not opened; what was called is not repeated there."""
    address, request_id = (scope.get("client") or [None])[0], scope.get("request_id", "")
    acting = (
        actors.nobody(address, request_id) if who is None else actors.of(who, address, request_id)
    )
    notices.refused("socket.refuse", "socket", "", reason, acting)


def _may_enter(scope: Scope) -> bool:
    origin = _place((header(scope["headers"], b"origin") or b"").decode("latin-1"))
    if origin is None:
        return False
    trusted = {_place(known) for known in settings.CSRF_TRUSTED_ORIGINS}
    return origin in trusted or origin == _called(scope)


def _called(scope: Scope) -> Place | None:
    """Give the place that the client called, if it is one of the hub's names."""
    host = (header(scope["headers"], b"host") or b"").decode("latin-1")
    domain, _port = split_domain_port(host)
    if not domain or not validate_host(domain, settings.ALLOWED_HOSTS):
        return None
    scheme = "https" if scope.get("scheme") in {"wss", "https"} else "http"
    return _place(f"{scheme}://{host}")


def _place(url: str) -> Place | None:
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS[parts.scheme]
    except (ValueError, KeyError):
        return None
    return (parts.scheme, parts.hostname.lower(), port) if parts.hostname else None


class Places:
    """How many sockets are open, of each person and in all."""

    def __init__(self, most_of_one: int = MOST_OF_ONE, most_of_all: int = MOST_OF_ALL) -> None:
        self._most_of_one, self._most_of_all = most_of_one, most_of_all
        self._open: Counter[str] = Counter()

    def take(self, name: str) -> bool:
        """Take a place; False when there is none. Give it back exactly once."""
        if self._open[name] >= self._most_of_one or self._open.total() >= self._most_of_all:
            return False
        self._open[name] += 1
        return True

    def give_back(self, name: str) -> None:
        self._open[name] -= 1
        if self._open[name] <= 0:
            del self._open[name]
