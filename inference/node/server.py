"""The node's door: wire.py over a unix socket (or TCP on loopback). The connection is the lease.

`serve` is called by `manage.py serve_models` and by `python -m inference.node`.
"""

import asyncio
import contextlib
import logging
import os
import signal
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from inference import wire
from inference.errors import HubError
from inference.node import devices
from inference.node.eviction import Limits
from inference.node.pool import Pool, failure
from inference.node.scheduler import Policy
from inference.node.status import snapshot

WRITE_LIMIT_BYTES = 4 * 1024 * 1024  # unread by a slow client; then its stream is cancelled
PATH_LIMIT_BYTES = 107  # Source: unix(7), sun_path
MIN_WATCH_S = 0.1

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """`address` is "unix:/path" or "tcp:host:port"; 0 means: the node decides."""

    address: str
    state_dir: Path
    device: str = "auto"
    memory_limit_bytes: int = 0
    max_concurrent_models: int = 0
    auto_unload_timeout_s: float = 300.0
    priority_models: tuple[str, ...] = ()
    threads: int = 0
    standby: int = 0
    hang_s: float = 60.0


class BadAddress(ValueError):
    """The message says what is wrong with it."""


class Connection(asyncio.Protocol):
    """One client, one question at a time; implements `pool.Client`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._parser = wire.FrameParser()
        self._transport: asyncio.Transport
        self._ticket = 0  # 0: nothing is asked
        self._finished = False
        self._task: asyncio.Task[None] | None = None

    # --- what the event loop calls --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._parser.feed(data):
                self._ask(frame.decode())
        except wire.FrameError as error:
            log.warning("a client sent no frame of ours: %s", error)
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._ticket:
            self._pool.leave(self._ticket)
            self._ticket = 0

    # --- what the pool calls ---------------------------------------------------------------------

    def forward(self, frame: bytes) -> None:
        self._transport.write(frame)
        if self._transport.get_write_buffer_size() > WRITE_LIMIT_BYTES:
            log.warning("a client reads too slowly and is cut off")
            self._transport.abort()

    def finish(self, message: wire.Done | wire.Failure | wire.Loaded) -> None:
        self._finished, self._ticket = True, 0
        self._transport.write(wire.encode(message))

    def tell(self, progress: wire.Progress) -> None:
        self._transport.write(wire.encode(progress))

    # --- questions ---------------------------------------------------------------------------------

    def _ask(self, message: wire.Any) -> None:
        """Raises: wire.FrameError on a second question before the first is answered."""
        if self._ticket or self._task is not None:
            raise wire.FrameError("one question at a time")
        self._finished = False
        if isinstance(message, wire.Submit):
            self._took(self._pool.submit(message, self))
        elif isinstance(message, wire.Load):
            self._took(self._pool.load(message, self))
        elif isinstance(message, wire.Unload):
            self._task = asyncio.create_task(self._unload(message))
        elif isinstance(message, wire.Watch):
            self._task = asyncio.create_task(self._watch(message.interval_s))
        else:
            raise wire.FrameError(f"{type(message).__name__} is no question")

    def _took(self, ticket: int) -> None:
        """Remember the lease, unless it was answered on the spot."""
        self._ticket = 0 if self._finished else ticket

    async def _unload(self, message: wire.Unload) -> None:
        try:
            await self._pool.unload(message.model, force=message.force)
            answer: wire.Any = wire.Done()
        except HubError as error:
            answer = failure(error)
        self._task = None
        self._transport.write(wire.encode(answer))

    async def _watch(self, interval_s: float) -> None:
        """Push snapshots; one that the client has not read yet is not followed by another."""
        while True:
            if not self._transport.get_write_buffer_size():
                self._transport.write(wire.encode(snapshot(self._pool)))
            if not interval_s:
                self._task = None
                return
            await asyncio.sleep(max(interval_s, MIN_WATCH_S))


async def serve(settings: NodeSettings, ready: asyncio.Event | None = None) -> None:
    """Serve until cancelled, or until SIGTERM or SIGINT.

    Raises: BadAddress, OSError when the address cannot be had.
    """
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    pool = make_pool(settings)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(ValueError, RuntimeError):  # not in a test's own thread
            loop.add_signal_handler(number, stopping.set)
    async with _listening(settings.address, pool):
        clock = asyncio.create_task(pool.run())
        clock.add_done_callback(lambda _: stopping.set())
        log.info("node serves at %s with %s", settings.address, _described(pool))
        if ready is not None:
            ready.set()
        try:
            await stopping.wait()
            if clock.done():
                clock.result()
        finally:
            clock.cancel()
            await pool.close()


def make_pool(settings: NodeSettings) -> Pool:
    found = devices.detect(settings.device, settings.memory_limit_bytes)
    limits = Limits(
        bytes={device.name: device.limit_bytes for device in found},
        max_models=settings.max_concurrent_models,
    )
    policy = Policy(
        limits=limits,
        auto_unload_s=settings.auto_unload_timeout_s,
        favoured=frozenset(settings.priority_models),
    )
    return Pool(
        devices=found,
        policy=policy,
        state_dir=settings.state_dir,
        threads=settings.threads or devices.engine_threads(),
        standby_count=settings.standby,
        hang_s=settings.hang_s,
    )


def _described(pool: Pool) -> str:
    return ", ".join(f"{d.name} ({d.limit_bytes / 2**30:.1f} GiB)" for d in pool.devices)


@asynccontextmanager
async def _listening(address: str, pool: Pool) -> AsyncIterator[asyncio.Server]:
    loop = asyncio.get_running_loop()
    kind, _, where = address.partition(":")
    if kind == "tcp":
        host, _, port = where.removeprefix("//").rpartition(":")
        server = await loop.create_server(lambda: Connection(pool), host, int(port))
    elif kind == "unix":
        _clear(Path(where))
        server = await loop.create_unix_server(lambda: Connection(pool), where)
        os.chmod(where, stat.S_IRUSR | stat.S_IWUSR)  # noqa: PTH101
    else:
        raise BadAddress(f"{address!r} must begin with unix: or tcp:")
    try:
        yield server
    finally:
        server.close()
        if kind == "unix":
            _clear(Path(where))


def _clear(path: Path) -> None:
    """Remove the socket that a killed node left. Raises: BadAddress."""
    if len(os.fsencode(path)) > PATH_LIMIT_BYTES:
        raise BadAddress(f"{path} is too long for a unix socket ({PATH_LIMIT_BYTES} bytes)")
    if path.exists() and not path.is_socket():
        raise BadAddress(f"{path} is there and is no socket")
    path.unlink(missing_ok=True)
