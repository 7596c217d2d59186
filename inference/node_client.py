"""Connections to the node: framing, pooling, back-pressure. Only `router.py` calls it."""

import asyncio
from collections import deque
from typing import cast
from weakref import WeakKeyDictionary

from inference import wire

MAX_IDLE = 128
HIGH_WATER_FRAMES = 512  # then the socket is not read until the reader has caught up
_Pools = WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, deque["Connection"]]]
_pools: _Pools = WeakKeyDictionary()


class Lost(ConnectionError):
    """The other side closed, or sent what is no frame."""


class Connection(asyncio.Protocol):
    """One socket with one question at a time."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._parser = wire.FrameParser()
        self._arrived: list[wire.Any] = []
        self._waiter: asyncio.Future[None] | None = None
        self._paused = False
        self._transport: asyncio.Transport

    # --- what the reader calls ------------------------------------------------------------------

    def write(self, frame: bytes) -> None:
        """Send; whether it arrived is seen at the next read."""
        self._transport.write(frame)

    async def next_batch(self, tick_s: float) -> list[wire.Any]:
        """Give all that has arrived, or nothing after `tick_s`. Raises: Lost."""
        if not self._arrived:
            timer = asyncio.get_running_loop().call_later(tick_s, self._wake)
            try:
                await self._wait()
            finally:
                timer.cancel()
        batch, self._arrived = self._arrived, []
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return batch

    def close(self) -> None:
        self._transport.abort()

    @property
    def idle(self) -> bool:
        """Tell whether it may carry another question."""
        return not self._transport.is_closing() and not self._arrived

    async def _wait(self) -> None:
        if self._transport.is_closing():
            raise Lost("the connection is closed")
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if not self._arrived and self._transport.is_closing():
            raise Lost("the connection was closed")

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # --- what the event loop calls --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._arrived += [frame.decode() for frame in self._parser.feed(data)]
        except wire.FrameError:
            self.close()
        if len(self._arrived) > HIGH_WATER_FRAMES and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wake()


async def connect(address: str) -> Connection:
    """Open a connection to "unix:/path" or "tcp:host:port". Raises: OSError."""
    loop = asyncio.get_running_loop()
    kind, _, where = address.partition(":")
    if kind == "unix":
        _, connection = await loop.create_unix_connection(lambda: Connection(address), where)
    else:
        host, _, port = where.removeprefix("//").rpartition(":")
        _, connection = await loop.create_connection(
            lambda: Connection(address), host.strip("[]"), int(port)
        )
    return connection


def take(address: str) -> Connection | None:
    """Take the connection used last, or None; the dead ones are dropped."""
    pool = _pool(address)
    while pool:
        connection = pool.pop()
        if connection.idle:
            return connection
    return None


def give_back(connection: Connection) -> None:
    """Keep a connection whose question is fully answered."""
    pool = _pool(connection.address)
    if connection.idle and len(pool) < MAX_IDLE:
        pool.append(connection)
    else:
        connection.close()


def _pool(address: str) -> deque[Connection]:
    return _pools.setdefault(asyncio.get_running_loop(), {}).setdefault(address, deque())
