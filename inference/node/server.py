"""The node's door: wire frames over a unix or loopback socket. The connection is the lease.

One question at a time on a connection. A client that closes cancels its question; one that does not
read is cut off, and nobody else notices.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from ipaddress import ip_address
from pathlib import Path

import msgspec

from inference import wire
from inference.node.pool import Pool
from inference.node.settings import BadAddress, Newest, NodeSettings

__all__ = ["BadAddress", "NodeSettings", "serve"]

CLIENT_LIMIT_BYTES = 1024 * 1024  # answered but not yet read
UNIX_PATH_BYTES = 107  # Source: unix(7), sun_path less its final NUL
BACKLOG = 1024

log = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    """One client; a `running.Client` for the pool."""

    def __init__(self, pool: Pool, all_connections: set["Connection"]) -> None:
        self._pool, self._all = pool, all_connections
        self._parser = wire.FrameParser()
        self._transport: asyncio.Transport | None = None
        self._stream = 0
        self._asked = False
        self._number = 0
        self._watch: asyncio.TimerHandle | None = None
        self._shown_to = 0.0  # unix time

    # --- asyncio.Protocol -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  for the type checker
        self._transport = transport
        self._all.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._parser.feed(data):
                self._on_question(frame.stream, frame.decode())
        except wire.FrameError as error:
            log.warning("a client sent bytes that are no frame: %s", error)
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._all.discard(self)
        self._transport = None
        if self._watch:
            self._watch.cancel()
        if self._number:
            self._pool.cancel(self._number)

    # --- running.Client ---------------------------------------------------------------------------

    def send(self, message: wire.Any) -> None:
        if self._transport:
            self._transport.write(wire.encode(message, self._stream))

    def forward(self, frame: wire.Frame) -> bool:
        if self._transport is None:
            return True  # the cancellation is on its way
        if self._transport.get_write_buffer_size() > CLIENT_LIMIT_BYTES:
            return False
        self._transport.write(frame.to_bytes(self._stream))
        return True

    def finish(self, message: wire.Any) -> None:
        self._asked, self._number = False, 0
        self.send(message)

    def abort(self) -> None:
        if self._transport:
            self._transport.abort()

    # --- questions --------------------------------------------------------------------------------

    def _on_question(self, stream: int, message: wire.Any) -> None:
        if isinstance(message, wire.Resize):
            self._pool.lending.resize(self._number, message)
            return
        if self._asked:
            raise wire.FrameError("a second question before the first was answered")
        self._stream = stream
        if isinstance(message, wire.Submit | wire.Load | wire.Reserve):
            self._asked = True
            number = self._take(message)
            self._number = number if self._asked else 0
        elif isinstance(message, wire.Unload | wire.Revise | wire.Plan | wire.PlanReservation):
            self._asked = True
            self._act(message)
        else:
            self._tell(message)

    def _take(self, question: wire.Submit | wire.Load | wire.Reserve) -> int:
        """Give the number by which it can be cancelled."""
        if isinstance(question, wire.Reserve):
            return self._pool.lending.reserve(self, question)
        return self._pool.submit(self, question)

    def _act(self, question: wire.Unload | wire.Revise | wire.Plan | wire.PlanReservation) -> None:
        if isinstance(question, wire.Unload):
            self._pool.unload(self, question)
        elif isinstance(question, wire.Revise):
            self._pool.revise(self, question)
        else:
            self._pool.plan(self, question)

    def _tell(self, message: wire.Any) -> None:
        """Answer at once. Raises: FrameError."""
        if isinstance(message, wire.Detach):
            self._pool.fleet.detach(message)
            self.send(wire.Done())
        elif isinstance(message, wire.Forget):
            self._pool.forget(message.model)
            self.send(wire.Done())
        elif isinstance(message, wire.Tail):
            self.send(wire.Lines(lines=self._pool.fleet.tail(message.model)))
        elif isinstance(message, wire.AskCourse):
            self.send(self._pool.course(message.model))
        elif isinstance(message, wire.Watch):
            self._show(message.interval_s)
        else:
            raise wire.FrameError(f"{type(message).__name__} is no question")

    def _show(self, interval_s: float) -> None:
        """Send the state; a watcher that does not read misses some, and no more."""
        transport = self._transport
        if transport is None:
            return
        if transport.get_write_buffer_size() < CLIENT_LIMIT_BYTES:
            self.send(self._state(lasting=interval_s > 0))
        if interval_s > 0:
            loop = asyncio.get_running_loop()
            self._watch = loop.call_later(max(0.05, interval_s), self._show, interval_s)

    def _state(self, *, lasting: bool) -> wire.Snapshot:
        """A watcher that stays gets the past at first, then what is new of it."""
        state = self._pool.snapshot()
        if not lasting:
            return state
        news = self._pool.history.after(self._shown_to)
        self._shown_to = news[-1].at if news else self._shown_to
        return msgspec.structs.replace(state, history=news)


async def serve(
    settings: NodeSettings, ready: asyncio.Event | None = None, newest: Newest | None = None
) -> None:
    """Serve until SIGTERM, SIGINT or cancellation; then every engine has ended.

    `newest` is asked for rules that were changed since. Raises: BadAddress for an address that cannot be used; OSError if it cannot be bound.
    """
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    listener = _bind(settings.address)
    pool, connections = Pool(settings, newest), set[Connection]()
    await pool.open()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Connection(pool, connections), sock=listener, backlog=BACKLOG
    )
    try:
        if ready:
            ready.set()
        log.info("the node listens on %s", settings.address)
        await _until_stopped()
    finally:
        server.close()
        await pool.close()
        for connection in [*connections]:
            connection.abort()
        _unlink(settings.address)


async def _until_stopped() -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
    await stop.wait()


def _bind(address: str) -> socket.socket:
    scheme, _, place = address.partition(":")
    if scheme == "unix":
        return _bind_unix(place)
    host, _, port = place.lstrip("/").rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.strip("[]")
    if scheme != "tcp" or not port.isdigit():
        raise BadAddress(f"node address {address!r} is neither unix:/path nor tcp:host:port")
    if not _is_loopback(host):
        raise BadAddress(f"the node listens on loopback only, not on {host}")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family, backlog=BACKLOG)


def _bind_unix(path: str) -> socket.socket:
    if len(os.fsencode(path)) > UNIX_PATH_BYTES:
        raise BadAddress(
            f"the node's socket path has {len(os.fsencode(path))} bytes, {UNIX_PATH_BYTES} are "
            f"possible: {path}; choose a shorter folder"
        )
    if _answers(path):
        raise BadAddress(f"another node listens on {path}")
    if Path(path).exists() and not Path(path).is_socket():
        raise BadAddress(f"{path} is there and is no socket")
    Path(path).unlink(missing_ok=True)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    Path(path).chmod(0o600)
    listener.listen(BACKLOG)
    return listener


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True


def _unlink(address: str) -> None:
    scheme, _, place = address.partition(":")
    if scheme == "unix":
        Path(place).unlink(missing_ok=True)
