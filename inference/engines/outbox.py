"""Frames on their way from an engine to the node: gathered, bounded per stream, written by one thread.

Engines emit from any thread. While the socket takes a chunk the next one gathers, so that a step over
many streams costs one write.
"""

import socket
import threading
from collections.abc import Callable

from inference import wire

STREAM_LIMIT_BYTES = 1024 * 1024  # waiting to be written, for one stream


class Outbox:
    """`overflowed(stream)` is called once, on the emitting thread, when nobody reads a stream."""

    def __init__(self, connection: socket.socket, overflowed: Callable[[int], None]) -> None:
        self._socket = connection
        self._overflowed = overflowed
        self._wake = threading.Condition()
        self._chunk = bytearray()
        self._waiting_bytes: dict[int, int] = {}
        self._open: set[int] = set()
        self._cut: set[int] = set()
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="outbox", daemon=True)
        self._thread.start()

    def open(self, stream: int) -> None:
        with self._wake:
            self._open.add(stream)

    @property
    def open_streams(self) -> int:
        return len(self._open)

    def put(self, message: wire.Any, stream: int = 0) -> None:
        """Queue a frame; frames of streams that ended or were cut are dropped."""
        data = wire.encode(message, stream)
        last = isinstance(message, wire.Done | wire.Failure)
        with self._wake:
            fits = self._accept(stream, len(data), last=last)
            if fits:
                self._chunk += data
                self._wake.notify()
        if fits is None:
            self._overflowed(stream)

    def close(self) -> None:
        """Write what is queued, then end the thread."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join(timeout=2.0)

    def _accept(self, stream: int, size: int, *, last: bool) -> bool | None:
        """Give True to queue, False to drop, None to drop and cut the stream."""
        if stream == 0:
            return True
        if stream not in self._open or (stream in self._cut and not last):
            return False
        waiting = self._waiting_bytes.get(stream, 0)
        if waiting and waiting + size > STREAM_LIMIT_BYTES and not last:
            self._cut.add(stream)
            return None
        self._waiting_bytes[stream] = waiting + size
        if last:
            self._open.discard(stream)
            self._cut.discard(stream)
        return True

    def _write(self) -> None:
        while chunk := self._take():
            try:
                self._socket.sendall(chunk)
            except OSError:
                return  # the node is gone; the reading side ends the process

    def _take(self) -> bytearray:
        with self._wake:
            self._wake.wait_for(lambda: self._chunk or self._closed)
            chunk, self._chunk = self._chunk, bytearray()
            self._waiting_bytes = {}
            return chunk
