"""One HTTP exchange on bare ASGI: the request as it is needed, and the reply with our headers."""

import asyncio
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl, quote

from inference.api import cors
from inference.errors import (
    HubError,
    InvalidRequest,
    RequestTimeout,
    RequestTooLarge,
    UnknownParameter,
    UnsupportedMediaType,
)
from inference.openai.errors import envelope

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

BODY_DEADLINE_S = 120.0
RETRY_AFTER_S = 5.0  # of a 503 that does not know better
UNREAD_KEPT_BYTES = 64 * 1024  # a refused body up to this is skipped; a larger one ends the line
SAFE_ID = re.compile(rb"[\x21-\x7e]{1,512}\Z")
JSON_TYPE = b"application/json"
log = logging.getLogger("inference.api")


class ClientLeft(Exception):
    """The client closed the connection: there is nobody to answer."""


class Request:
    """What was asked. Nothing of the body is read before `body` or `chunks` is called."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.started_s = time.perf_counter()
        self.receive = receive
        self.scope = scope
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.pairs: list[Header] = scope["headers"]
        self.headers: dict[bytes, bytes] = dict(reversed(self.pairs))  # of several, the first
        self.id: str = scope.get("request_id") or f"req_{secrets.token_hex(16)}"
        self.body_read = False

    @property
    def client_ip(self) -> str | None:
        client = self.scope.get("client")
        return client[0] if client else None

    @property
    def via(self) -> str:
        """Name the servers that passed it on."""
        return b",".join(value for name, value in self.pairs if name == b"via").decode("latin-1")

    @property
    def client_id(self) -> bytes | None:
        """Give the client's own name for this request, if it is a sane one."""
        given = self.headers.get(b"x-client-request-id", b"")
        return given if SAFE_ID.match(given) else None

    def note(self, **facts: Any) -> None:
        """Add to the line that the log has of this request; None and nothing are left out."""
        noted = self.scope.setdefault("noted", {})
        noted.update({name: fact for name, fact in facts.items() if fact not in (None, "")})

    @property
    def elapsed_s(self) -> float:
        return time.perf_counter() - self.started_s

    @property
    def leaves_line_dirty(self) -> bool:
        """Tell whether so much of the body is unread that the connection should end."""
        if self.body_read:
            return False
        length = self.headers.get(b"content-length", b"0")
        large = not length.isdigit() or int(length[:18]) > UNREAD_KEPT_BYTES
        return large or b"transfer-encoding" in self.headers

    def refuse_query(self) -> None:
        """No parameter is known here, and none is ignored. Raises: UnknownParameter."""
        self.query()

    def query(self, *known: str, maps: tuple[str, ...] = ()) -> dict[str, str]:
        """Give the parameters of the query; no other than these. Those in `maps` may be `name[key]`.

        Raises: UnknownParameter.
        """
        given = parse_qsl(self.scope.get("query_string", b"").decode("latin-1"), True)
        for name, _ in given:
            if name not in known and not (name.endswith("]") and name.partition("[")[0] in maps):
                raise UnknownParameter(f"unknown query parameter: {name[:100]}", param=name[:100])
        return dict(given)

    def content_type(self) -> bytes:
        return self.headers.get(b"content-type", b"").split(b";")[0].strip().lower()

    def require_type(self, wanted: bytes) -> None:
        """Raises: UnsupportedMediaType."""
        found = self.content_type()
        if found != wanted:
            shown = found.decode("latin-1") or "none"
            message = f"the content type must be {wanted.decode()}, but it is {shown}"
            raise UnsupportedMediaType(message)

    async def body(self, limit_bytes: int) -> bytes:
        """Read it all. Raises: RequestTooLarge, RequestTimeout; ClientLeft."""
        parts: list[bytes] = []
        await self.read(limit_bytes, parts.append)
        return b"".join(parts)

    async def read(
        self,
        limit_bytes: int,
        take: Callable[[bytes], object],
        deadline_s: float = BODY_DEADLINE_S,
    ) -> None:
        """Hand on piece by piece. Raises: RequestTooLarge, RequestTimeout; ClientLeft."""
        self._check_coding()
        self._check_length(limit_bytes)
        try:
            async with asyncio.timeout(deadline_s):
                await self._read(limit_bytes, take)
        except TimeoutError:
            message = f"the body did not arrive within {deadline_s:.0f} s"
            raise RequestTimeout(message) from None

    async def _read(self, limit_bytes: int, take: Callable[[bytes], object]) -> None:
        seen = 0
        while not self.body_read:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            piece: bytes = message.get("body", b"")
            seen += len(piece)
            if seen > limit_bytes:
                raise _too_large(limit_bytes)
            take(piece)
            self.body_read = not message.get("more_body", False)

    def _check_coding(self) -> None:
        coding = self.headers.get(b"content-encoding", b"").decode("latin-1").strip().lower()
        if coding not in {"", "identity"}:
            words = f"send the body as it is: the header Content-Encoding says {coding[:100]}"
            raise UnsupportedMediaType(words, param="content-encoding")

    def _check_length(self, limit_bytes: int) -> None:
        length = self.headers.get(b"content-length")
        if length is None:
            return
        if not length.isdigit():
            raise InvalidRequest("the Content-Length header is no number")
        if len(length) > 18 or int(length) > limit_bytes:
            raise _too_large(limit_bytes)


class Reply:
    """What is answered: one JSON document, or a stream. `extra` headers go with either."""

    def __init__(self, request: Request, send: Send) -> None:
        self._request = request
        self._send = send
        self.started = False
        self.status = 0
        self.extra: list[Header] = []
        self.late: Callable[[], list[Header]] = list  # gives what is known when the reply starts
        self.sending_since_s: float | None = None

    def add(self, headers: dict[str, str]) -> None:
        """Add headers to whatever will be answered."""
        self.extra += [(name.encode(), value.encode()) for name, value in headers.items()]

    async def json(self, body: bytes, status: int = 200) -> None:
        await self.whole(body, JSON_TYPE, status)

    async def whole(self, body: bytes, content_type: bytes, status: int = 200) -> None:
        length = (b"content-length", str(len(body)).encode())
        await self._start(status, [(b"content-type", content_type), length])
        await self._body(body, more=False)

    async def empty(self, headers: list[Header], status: int = 204) -> None:
        await self._start(status, headers)
        await self._body(b"", more=False)

    async def download(self, blocks: AsyncIterator[bytes], size: int, filename: str) -> None:
        """Send a file that a browser saves and never shows."""
        name = quote(filename, safe="")
        headers = [
            (b"content-type", b"application/octet-stream"),
            (b"content-length", str(size).encode()),
            (b"content-disposition", f"attachment; filename*=UTF-8''{name}".encode()),
            (b"x-content-type-options", b"nosniff"),
        ]
        await self._start(200, headers)
        async for block in blocks:
            await self.chunk(block)
        await self.end()

    async def start_events(self) -> None:
        headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache, no-transform"),
            (b"content-encoding", b"identity"),
            (b"x-accel-buffering", b"no"),
        ]
        await self._start(200, headers)

    async def chunk(self, data: bytes) -> None:
        await self._body(data, more=True)

    async def end(self, data: bytes = b"") -> None:
        await self._body(data, more=False)

    async def error(self, error: HubError) -> None:
        """Answer with the envelope and what a client needs to decide about trying again."""
        headers = [(b"x-should-retry", b"true" if error.retryable else b"false")]
        after_s = error.retry_after_s
        if after_s is None and error.status == 503:
            after_s = RETRY_AFTER_S
        if after_s is not None and error.status in {429, 503}:
            headers += _retry_after(after_s)
        if error.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        self.extra += headers
        await self.json(envelope(error), error.status)

    async def _start(self, status: int, headers: list[Header]) -> None:
        self.started = True
        self.status = status
        closing = [(b"connection", b"close")] if self._request.leaves_line_dirty else []
        all_headers = [*headers, *self._common(), *self.extra, *self.late(), *closing]
        await self._timed({"type": "http.response.start", "status": status, "headers": all_headers})

    async def _body(self, data: bytes, more: bool) -> None:
        await self._timed({"type": "http.response.body", "body": data, "more_body": more})

    async def _timed(self, message: Message) -> None:
        """Note when a send began: one that takes too long is a client that does not read."""
        self.sending_since_s = time.monotonic()
        await self._send(message)
        self.sending_since_s = None

    def _common(self) -> Iterable[Header]:
        request = self._request
        yield (b"x-request-id", request.id.encode("latin-1", "replace"))
        yield (b"openai-version", b"2020-10-01")
        yield (b"openai-processing-ms", str(int(request.elapsed_s * 1000)).encode())
        if request.client_id is not None:
            yield (b"x-client-request-id", request.client_id)
        if b"origin" in request.headers:
            yield from cors.ALLOWED


def _retry_after(seconds: float) -> list[Header]:
    """Whole seconds for everyone, milliseconds for OpenAI's clients."""
    whole = max(1, -int(-seconds // 1))
    milliseconds = max(1, int(seconds * 1000))
    return [
        (b"retry-after", str(whole).encode()),
        (b"retry-after-ms", str(milliseconds).encode()),
    ]


def _too_large(limit_bytes: int) -> RequestTooLarge:
    return RequestTooLarge(f"the body is over the limit of {limit_bytes} bytes")
