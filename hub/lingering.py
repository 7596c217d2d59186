"""An answer that comes before the request has ended must arrive: half-close, read on, then close.

A socket that is closed over unread bytes sends a reset, and the reset throws away the answer that the
client has not read yet. Used by hub.web. Source: RFC 9112 section 9.6.
"""

import asyncio
from typing import Any

LINGER_S = 30.0
LINGER_BYTES = 1024**3  # read and thrown away: it costs no memory and half a second of a core


class Line:
    """A transport whose `close` waits for the other side where that may still be sending.

    Invariant: once `lingering`, what arrives goes to `swallow` and to nobody else.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.lingering = False
        self.sending = False  # whether the other side may be in the middle of a request
        self._left_bytes = LINGER_BYTES
        self._timer: asyncio.TimerHandle | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def is_closing(self) -> bool:
        return self.lingering or self.transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send; after the end of the answer nothing more is said, whoever still would."""
        if not self.lingering:
            self.transport.write(data)

    def close(self) -> None:
        """End the answer; the connection ends when the other side has, or time and bytes are up."""
        if self.is_closing() or not self.sending or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.lingering = True
        self.transport.write_eof()
        self.transport.resume_reading()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LINGER_S, self.transport.abort)

    def swallow(self, data: bytes) -> None:
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            self.transport.abort()

    def lost(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
