"""The web server's own settings: uvicorn, with a limit on slow and oversized request headers."""

import asyncio
import logging
import socket
import uuid
from typing import Any, cast

import uvicorn
from django.conf import settings
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from accounts import ledger, shares
from hub.lingering import Line
from inference.errors import InvalidRequest
from inference.openai.errors import envelope

log = logging.getLogger(__name__)

HEADER_DEADLINE_S = 10.0
MAX_HEADERS = 128
MAX_HEADER_BYTES = 64 * 1024
GRACEFUL_S = 5
KEEP_ALIVE_S = 75
MAX_WEBSOCKET_MESSAGE_BYTES = 1024 * 1024


class GuardedHttp(HttpToolsProtocol):
    """Close connections whose request headers come too slowly, and refuse too many of them.

    uvicorn has neither limit: idle connections it ends itself, started requests it waits for. An
    answer before the end of a request arrives (`lingering`), and every refusal is an envelope.
    """

    _line: Line
    _running: RequestResponseCycle | None = None  # uvicorn keeps the newest, which may only wait
    _refusal = "the bytes sent are no valid HTTP request"

    _deadline: asyncio.TimerHandle | None = None
    _header_count = 0
    _header_bytes = 0
    _waiting_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._line = Line(transport)
        super().connection_made(cast("asyncio.Transport", self._line))
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_came()
        self._line.lost()
        super().connection_lost(exc)
        self._break_off()

    def data_received(self, data: bytes) -> None:
        if self._line.lingering:
            self._line.swallow(data)
            return
        super().data_received(data)
        if self._deadline is not None:  # the parser keeps what is no whole header yet
            self._waiting_bytes += len(data)
            if self._waiting_bytes > 4 * MAX_HEADER_BYTES:
                self._too_slow()

    def on_message_begin(self) -> None:
        self._header_count = self._header_bytes = 0
        self._line.sending = True
        self._await_headers()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_count += 1
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._headers_came()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._line.sending = False
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._headers_came()
        self.transport = self._line.transport
        super().handle_websocket_upgrade()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request as every refusal is answered, unless an answer has begun."""
        request_id = f"req_{uuid.uuid4().hex}"
        log.warning(msg, extra={"request_id": request_id, "reason": self._refusal})
        body = envelope(InvalidRequest(self._refusal))
        head = {
            "content-type": "application/json",
            "content-length": str(len(body)),
            "x-request-id": request_id,
            "connection": "close",
        }
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        self._headers_came()
        self._line.sending = True
        if not self._break_off():
            self.transport.write(STATUS_LINE[400] + lines.encode() + b"\r\n" + body)
        self.transport.close()

    def _break_off(self) -> bool:
        """Tell the application that runs that its client is gone; True where it was answering."""
        running = self._running
        if running is None or running.response_complete:
            return False
        running.disconnected = True
        running.message_event.set()
        return running.response_started

    def _count(self, size_bytes: int) -> None:
        """Raise inside the parser's callback: uvicorn then answers 400 and closes."""
        self._header_bytes += size_bytes
        if self._header_count > MAX_HEADERS or self._header_bytes > MAX_HEADER_BYTES:
            self._refusal = f"more than {MAX_HEADERS} headers, or {MAX_HEADER_BYTES} bytes of them"
            raise ValueError(self._refusal)

    def _await_headers(self) -> None:
        if self._deadline is None:
            self._waiting_bytes = 0
            self._deadline = self.loop.call_later(HEADER_DEADLINE_S, self._too_slow)

    def _headers_came(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._headers_came()
        if not self.transport.is_closing():
            self.transport.abort()


def config(**overrides: Any) -> uvicorn.Config:
    """Configure one web process; its logs go through hub.telemetry."""
    options: dict[str, Any] = {
        "app": "hub.asgi:application",
        "host": settings.HUB_HOST,
        "port": settings.HUB_PORT,
        "loop": "uvloop",
        "http": GuardedHttp,
        "ws": "websockets-sansio",
        "ws_max_size": MAX_WEBSOCKET_MESSAGE_BYTES,
        "lifespan": "off",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": bool(settings.HUB_TRUSTED_PROXIES),
        "forwarded_allow_ips": settings.HUB_TRUSTED_PROXIES,
        "timeout_keep_alive": KEEP_ALIVE_S,
        "timeout_graceful_shutdown": GRACEFUL_S,
    }
    return uvicorn.Config(**options | overrides)


def serve(descriptor: int | None) -> None:
    """Serve until SIGTERM, on a socket that the supervisor bound, or on one of its own."""
    shares.announce()
    ledger.of_process().start()
    server = uvicorn.Server(config())
    server.run(sockets=None if descriptor is None else [socket.socket(fileno=descriptor)])
