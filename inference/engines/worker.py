"""The process around one engine: frames in, jobs to the engine, frames out.

Started by the node as `python -m inference.engines.worker --fd N`. The main thread reads the socket,
`Outbox` writes it, the engine computes on threads of its own. The node's end closing ends the process.
"""

import argparse
import contextlib
import importlib
import logging
import os
import re
import selectors
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from inference import sizes, wire
from inference.engines.base import Engine, Job, Setting, failure_of, is_out_of_memory, may_take
from inference.engines.confine import confine
from inference.engines.outbox import Outbox
from inference.errors import EngineFailed, EngineOutOfMemory, HubError, InvalidRequest, LoadFailed

STATS_INTERVAL_S = 0.5
READ_BYTES = 256 * 1024
ENGINE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

log = logging.getLogger(__name__)


class Worker:
    """One engine behind one socket; all but `_load` and `_move` runs on the main thread."""

    def __init__(self, connection: socket.socket, *, is_alone: bool = False) -> None:
        self._socket, self._is_alone = connection, is_alone
        self._parser = wire.FrameParser()
        self._engine: Engine | None = None
        self._overflowed: deque[int] = deque()
        self._knock, self._door = socket.socketpair()
        self._door.setblocking(False)
        self._outbox = Outbox(connection, self._on_overflow)
        self._was_busy = False
        self._report_at = 0.0

    def serve(self) -> None:
        """Run until the node closes its end."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._door, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select(STATS_INTERVAL_S if self._busy else None):
                    if key.fileobj is self._door:
                        self._cut_overflowed()
                    elif not self._read():
                        return
                self._report_if_due()

    @property
    def _busy(self) -> bool:
        return self._outbox.open_streams > 0

    def _read(self) -> bool:
        """Give False at the end of the stream."""
        try:
            data = self._socket.recv(READ_BYTES)
        except ConnectionError:
            return False
        for frame in self._parser.feed(data):
            self._on_frame(frame.stream, frame.decode())
        return bool(data)

    def _on_frame(self, stream: int, message: wire.Any) -> None:
        if isinstance(message, wire.Run):
            self._run(stream, message.body)
        elif isinstance(message, wire.Cancel) and self._engine:
            self._engine.cancel(stream)
        elif isinstance(message, wire.Detach) and self._engine:
            self._engine.detach(message.adapter)
            self._outbox.put(self._engine.stats())
        elif isinstance(message, wire.Sleep | wire.Wake) and self._engine:
            self._aside(self._move, self._engine, message)
        elif isinstance(message, wire.Start):
            set_threads(message.threads)
            self._aside(self._load, message)

    def _aside(self, work: Callable[..., None], *args: object) -> None:
        threading.Thread(target=work, args=args, name="load", daemon=True).start()

    def _run(self, stream: int, body: wire.Body) -> None:
        if not self._was_busy:
            self._was_busy, self._report_at = True, time.monotonic() + STATS_INTERVAL_S
        self._outbox.open(stream)
        try:
            if self._engine is None:
                raise EngineFailed("the engine is not loaded")
            self._engine.submit(Job(stream, body, partial(self._emit, stream)))
        except Exception as error:
            log.exception("submit failed")
            self._emit(stream, failure(error, EngineFailed))

    def _emit(self, stream: int, message: wire.Any) -> None:
        """What was done is told before its end: whoever hears that may end this process."""
        last = isinstance(message, wire.Done | wire.Failure) and self._outbox.open_streams == 1
        if last and self._engine:
            self._outbox.put(self._engine.stats())
        self._outbox.put(message, stream)
        if self._outbox.open_streams == 0:
            self._wake()

    def _load(self, start: wire.Start) -> None:
        setting, began_s = self._setting(start), time.monotonic()
        log.info("loading %s on %s, threads %d", start.spec.engine, setting.device, setting.threads)
        try:
            engine = create(start.spec.engine)
            loaded = engine.load(start.spec, setting)
            self._engine = engine
            log.info("ready after %.1f s: %s", time.monotonic() - began_s, _described(loaded))
            self._outbox.put(loaded)
        except Exception as error:
            if isinstance(error, HubError):
                log.error("load failed: %s", error.message)
            else:
                log.exception("load failed")
            self._outbox.put(failure(error, LoadFailed))

    def _move(self, engine: Engine, message: wire.Sleep | wire.Wake) -> None:
        """Put the engine to sleep, or wake it."""
        try:
            if isinstance(message, wire.Wake):
                self._outbox.put(engine.wake())
            else:
                engine.sleep()
                self._outbox.put(wire.Asleep())
        except Exception as error:
            log.exception("its sleep failed")
            self._outbox.put(failure(error, EngineFailed))

    def _setting(self, start: wire.Start) -> Setting:
        return Setting(
            threads=max(1, start.threads),
            device="cpu" if start.spec.device == "auto" else start.spec.device,
            memory_bytes=start.memory_bytes,
            progress=lambda done, total: self._outbox.put(
                wire.LoadProgress(loaded_bytes=done, total_bytes=total)
            ),
            kv_bytes=start.kv_bytes,
            devices=tuple(start.devices),
            is_alone=self._is_alone,
        )

    def _report_if_due(self) -> None:
        """About twice a second while busy, and once when the last stream has ended."""
        now, busy = time.monotonic(), self._busy
        if self._engine and ((busy and now >= self._report_at) or (self._was_busy and not busy)):
            self._report_at = now + STATS_INTERVAL_S
            self._outbox.put(self._engine.stats())
        self._was_busy = busy

    def _on_overflow(self, stream: int) -> None:
        self._overflowed.append(stream)
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._knock.send(b"!", socket.MSG_DONTWAIT)

    def _cut_overflowed(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._door.recv(4096)
        while self._overflowed and self._engine:
            self._engine.cancel(self._overflowed.popleft())


def _described(loaded: wire.Loaded) -> str:
    weights, kv = sizes.text(loaded.weights_bytes), sizes.text(loaded.kv_bytes)
    return (
        f"weights {weights}, KV cache {kv}, context {loaded.context_tokens} tokens, "
        f"{loaded.dtype or 'own number format'}"
    )


def create(name: str) -> Engine:
    """Make the engine of module `inference.engines.<name>`.

    Raises: LoadFailed if there is none or its libraries are not installed.
    """
    if not ENGINE_NAME.fullmatch(name):
        raise LoadFailed(f"{name!r} is no engine name")
    try:
        module = importlib.import_module(f"inference.engines.{name}")
        engine: type[Engine] = module.ENGINE
    except (ImportError, AttributeError) as error:
        raise LoadFailed(f"engine {name!r} cannot be used here: {error}") from error
    return engine()


def failure(error: Exception, otherwise: type[HubError]) -> wire.Failure:
    """Name an error for the other side of the socket."""
    cause = error.__cause__ if isinstance(error, LoadFailed) else None
    if isinstance(cause, Exception) and is_out_of_memory(cause):
        error = cause
    if not isinstance(error, HubError):
        error = _known(error, otherwise)
    return failure_of(error)


def _known(error: Exception, otherwise: type[HubError]) -> HubError:
    if is_out_of_memory(error):
        told = f"there was not enough memory to load it{may_take()}: {error}"
        return EngineOutOfMemory(told.removesuffix(": "))
    if isinstance(error, FileNotFoundError):
        return otherwise(f"file not found: {error.filename}")
    return otherwise(f"{type(error).__name__}: {error}")


def set_threads(threads: int) -> None:
    """Tell the numeric libraries before they are imported; the node's environment wins."""
    count = str(max(1, threads))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, count)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("KMP_BLOCKTIME", "0")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")


def prepare(modules: str) -> None:
    """Import what engines will need, so that a later start costs the weights only."""
    for name in filter(None, modules.split(",")):
        try:
            importlib.import_module(name)
        except ImportError as error:
            log.info("standby goes on without %s: %s", name, error)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="connected socket to the node")
    parser.add_argument("--parent", type=int, default=0, help="end when this process ends")
    parser.add_argument("--network", action="store_true", help="keep the network")
    parser.add_argument("--prepare", default="", help="modules to import before the first frame")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s %(message)s")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    is_alone = confine(options.parent, network=options.network)
    connection = socket.socket(fileno=options.fd)
    prepare(options.prepare)
    try:
        Worker(connection, is_alone=is_alone).serve()
    except (wire.FrameError, InvalidRequest):
        log.exception("the node sent bytes that are no frame")
    os._exit(0)  # engine threads may be deep inside a kernel; nothing is left to save


if __name__ == "__main__":
    main()
