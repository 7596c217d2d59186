"""Guards around the applications: request ids, body limits, compression of whole pages."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from io import BytesIO
from typing import Any

import structlog
from asgiref.sync import iscoroutinefunction
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware
from django.utils.decorators import sync_and_async_middleware
from django.utils.translation import get_language_from_request, override
from django.utils.translation import gettext as _

from inference.errors import HubError, RequestTimeout, RequestTooLarge
from inference.openai.errors import envelope

Scope = dict[str, Any]
Message = Any  # a mapping; servers and frameworks differ in how they declare it
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]

log = logging.getLogger(__name__)
SAFE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}\Z")
SECRET_PATHS = re.compile(r"^(/setup/)[^/]+")
BODY_STALL_S = 30.0  # without a byte of the body
BODY_DEADLINE_S = 120.0  # for all of it: a byte now and then holds a connection no longer
QUIET_PATHS = ("/healthz", "/readyz", "/metrics", "/static/")


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Give the first header of this lower-case name."""
    return next((value for key, value in headers if key == name), None)


class RequestIds:
    """Give each request an id: in the scope, in every log line, in the answer; log its end."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope["request_id"] = request_id
        scope["noted"] = {}  # what the applications add to the line: user_id, key_id, model, tokens
        watched = _Watched(send, request_id)
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, watched)
            finally:
                _log_end(scope, watched)


def _request_id(scope: Scope) -> str:
    given = (header(scope["headers"], b"x-request-id") or b"").decode("latin-1")
    return given if SAFE_REQUEST_ID.match(given) else f"req_{uuid.uuid4().hex}"


class _Watched:
    """A `send` that adds the request id and remembers how the answer went."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.send = send
        self.request_id = request_id.encode()
        self.status = 0
        self.sent_bytes = 0
        self.started_s = time.perf_counter()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            if header(headers, b"x-request-id") is None:
                message = {**message, "headers": [*headers, (b"x-request-id", self.request_id)]}
        elif message["type"] == "http.response.body":
            self.sent_bytes += len(message.get("body", b""))
        await self.send(message)


def _log_end(scope: Scope, watched: _Watched) -> None:
    """Paths only: a query string or a set-up token is nobody's business."""
    path = scope["path"]
    if not path.isprintable():
        path = path.encode("unicode_escape").decode()
    if scope["type"] == "websocket" or path.startswith(QUIET_PATHS):
        return
    log.info(
        "request",
        extra={
            "method": scope["method"],
            "path": SECRET_PATHS.sub(r"\1***", path),
            **scope.get("noted", {}),
            "status": watched.status,
            "bytes": watched.sent_bytes,
            "ms": round((time.perf_counter() - watched.started_s) * 1000, 1),
        },
    )


class BodyTooLarge(Exception):
    """Raised inside the application when a body without a length grows over the limit."""


class BodyLimit:
    """Refuse a large body before it is read, and a chunked one as soon as it is too large."""

    def __init__(self, app: App, limit_bytes: int) -> None:
        self.app = app
        self.limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif self._declared_too_large(scope):
            await _refuse(scope, send, self._too_large())
        else:
            await self._counted(scope, receive, send)

    def _too_large(self) -> HubError:
        return RequestTooLarge(f"the body is over the limit of {self.limit_bytes} bytes")

    def _declared_too_large(self, scope: Scope) -> bool:
        length = header(scope["headers"], b"content-length") or b"0"
        return not length.isdigit() or len(length) > 18 or int(length) > self.limit_bytes

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen_bytes = 0
        complete = started = False
        until_s = asyncio.get_running_loop().time() + BODY_DEADLINE_S

        async def counted() -> Message:
            nonlocal seen_bytes, complete
            message = await (receive() if complete else _in_time(receive, until_s))
            seen_bytes += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if seen_bytes > self.limit_bytes:
                raise BodyTooLarge
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, counted, watched)
        except BodyTooLarge:
            if not started:
                await _refuse(scope, send, self._too_large())
        except TimeoutError:
            if not started:
                message = f"the body did not come within {BODY_DEADLINE_S:.0f} s, or stopped"
                await _refuse(scope, send, RequestTimeout(message))


async def _in_time(receive: Receive, until_s: float) -> Message:
    """Raises: TimeoutError, where nothing comes for too long, or too little."""
    stalled_s = asyncio.get_running_loop().time() + BODY_STALL_S
    async with asyncio.timeout_at(min(stalled_s, until_s)):
        return await receive()


async def _refuse(scope: Scope, send: Send, error: HubError) -> None:
    """Answer programs with the envelope, and browsers with a page that needs nothing else."""
    if scope["path"].startswith("/api/"):
        kind, body = b"application/json", envelope(error)
    else:
        kind, body = b"text/html; charset=utf-8", _page(scope, error)
    headers = [
        (b"content-type", kind),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store, private"),
        (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
        (b"x-content-type-options", b"nosniff"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _page(scope: Scope, error: HubError) -> bytes:
    language = get_language_from_request(ASGIRequest(scope, BytesIO()))
    with override(language):
        if error.status == 413:
            title, advice = _("That is too large"), _("Go back and send less.")
        else:
            title, advice = _("That came too slowly"), _("Go back and try again.")
    head = f'<!doctype html><html lang="{language}"><meta charset="utf-8"><title>{title}</title>'
    return f"{head}<h1>{title}</h1><p>{advice}</p></html>\n".encode()


_gzip = GZipMiddleware(lambda _request: HttpResponse())


def _compressed(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Leave streams alone: compressed chunk by chunk they arrive late or not at all."""
    return response if response.streaming else _gzip.process_response(request, response)


def _unkept(response: HttpResponseBase) -> HttpResponseBase:
    """Pages and answers show what only their reader may see: no cache keeps them."""
    if not response.has_header("Cache-Control"):
        response["Cache-Control"] = "no-store, private"
    return response


@sync_and_async_middleware
def keep_no_pages(get_response: Any) -> Any:
    if iscoroutinefunction(get_response):

        async def keep_none_async(request: HttpRequest) -> HttpResponseBase:
            return _unkept(await get_response(request))

        return keep_none_async

    def keep_none(request: HttpRequest) -> HttpResponseBase:
        return _unkept(get_response(request))

    return keep_none


def _told_limits(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Add the headers that the management API's throttle left with the request."""
    for name, value in getattr(request, "limit_headers", {}).items():
        response[name] = value
    return response


@sync_and_async_middleware
def tell_limits(get_response: Any) -> Any:
    if iscoroutinefunction(get_response):

        async def tell_limits_async(request: HttpRequest) -> HttpResponseBase:
            return _told_limits(request, await get_response(request))

        return tell_limits_async

    def tell_limits_now(request: HttpRequest) -> HttpResponseBase:
        return _told_limits(request, get_response(request))

    return tell_limits_now


@sync_and_async_middleware
def compress_pages(get_response: Any) -> Any:
    if iscoroutinefunction(get_response):

        async def compress_async(request: HttpRequest) -> HttpResponseBase:
            return _compressed(request, await get_response(request))

        return compress_async

    def compress(request: HttpRequest) -> HttpResponseBase:
        return _compressed(request, get_response(request))

    return compress
