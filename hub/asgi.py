"""The one ASGI application: /v1 on its own, pages through Django, websockets through Channels."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")
django_application = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.conf import settings  # noqa: E402

from hub import checks, database  # noqa: E402
from hub.dashboard.routing import websocket_urlpatterns  # noqa: E402
from hub.hints import WrongBase  # noqa: E402
from hub.middleware import App, BodyLimit, Receive, RequestIds, Scope, Send  # noqa: E402
from hub.sockets import Routed, SameOrigin  # noqa: E402
from hub.static import StaticFiles  # noqa: E402
from inference.api.app import ROUTES  # noqa: E402
from inference.api.app import application as api  # noqa: E402
from training.api.routes import ROUTES as TRAINING_ROUTES  # noqa: E402

checks.refuse_bad_configuration()
ROUTES.add(*TRAINING_ROUTES)
held_database = database.hold_open(settings.DATABASES["default"])


class PathRouter:
    """Send requests under a prefix to an application of their own."""

    def __init__(self, prefix: str, app: App, rest: App) -> None:
        self.prefix = prefix
        self.app = app
        self.rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        inside = path == self.prefix or path.startswith(self.prefix + "/")
        await (self.app if inside else self.rest)(scope, receive, send)


def _pages() -> App:
    limited = BodyLimit(django_application, settings.HUB_MAX_BODY_BYTES)
    return StaticFiles(limited, settings.STATIC_URL)


def _http() -> App:
    return WrongBase(PathRouter("/v1", api, _pages()))


def _websocket() -> App:
    inside = AuthMiddlewareStack(URLRouter(websocket_urlpatterns))
    return SameOrigin(Routed(inside, websocket_urlpatterns))


application = RequestIds(ProtocolTypeRouter({"http": _http(), "websocket": _websocket()}))
