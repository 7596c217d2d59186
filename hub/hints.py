"""A client whose base URL lacks /v1 is told so in the envelope, instead of a web page it cannot read.

Mounted by hub.asgi before the pages.
"""

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from hub.middleware import App, Receive, Scope, Send, header
from inference.api.app import ROUTES
from inference.errors import NotFound
from inference.openai.errors import envelope

PREFIX = "/v1"


class WrongBase:
    """Answer the paths of OpenAI's API outside /v1, where a program asks, and /v1 itself."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].rstrip("/")
        if path == PREFIX or (_is_missed(path) and _is_program(scope)):
            await _answer(scope, send)
        else:
            await self.app(scope, receive, send)


def _is_missed(path: str) -> bool:
    """A doubled prefix is missed too: /v1/v1/chat/completions."""
    found = ROUTES.find(PREFIX + path) or ROUTES.find(path.removeprefix(PREFIX))
    return found is not None and not found.args


def _is_program(scope: Scope) -> bool:
    """The hub's own pages send neither a key nor JSON to these paths."""
    headers = scope["headers"]
    scheme = (header(headers, b"authorization") or b"").partition(b" ")[0].lower()
    kind = (header(headers, b"content-type") or b"").partition(b";")[0].strip().lower()
    return (
        scheme == b"bearer"
        or header(headers, b"x-api-key") is not None
        or (scope["method"] == "POST" and kind in {b"application/json", b"multipart/form-data"})
    )


async def _answer(scope: Scope, send: Send) -> None:
    base = f"{_origin(scope)}{PREFIX}"
    paths = ", ".join(f"{base}{path}" for path in ("/models", "/chat/completions"))
    body = envelope(
        NotFound(f"There is nothing at this address. Use {base} as the base URL, as in {paths}.")
    )
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store, private"),
    ]
    await send({"type": "http.response.start", "status": 404, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _origin(scope: Scope) -> str:
    """Give how the hub is reached; of a foreign Host nothing is repeated."""
    host = (header(scope["headers"], b"host") or b"").decode("latin-1")
    if settings.HUB_PUBLIC_URL:
        return settings.HUB_PUBLIC_URL.rstrip("/")
    if validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS):
        return f"{scope.get('scheme', 'http')}://{host}"
    return ""
