"""One engine process and the socket to it. Started bare: no secret, no proxy, no hub of models.

The pool owns it. Frames arrive through `Listener.on_frame`; the end, whatever its cause, through
`Listener.on_exit`, once.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from inference import wire

ROOT = Path(wire.__file__).resolve().parents[2]
WORKER = "inference.engines.worker"
PASSED_ON = (
    *("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH"),
    *("PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("CUDA_HOME", "CUDA_VISIBLE_DEVICES"),
    *("NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"),
)
SOCKET_BUFFER_BYTES = 1024 * 1024
STOP_GRACE_S = 1.0
LAST_WORDS_S = 0.2
LOG_LINE_BYTES = 64 * 1024
LINES, LINE_CHARS = 200, 1000  # kept of each process, for the model's page

log = logging.getLogger("inference.engine")


class Listener(Protocol):
    def on_frame(self, process: "EngineProcess", frame: wire.Frame) -> None: ...
    def on_exit(self, process: "EngineProcess") -> None: ...


def environment(threads: int, home: Path) -> dict[str, str]:
    """Give an engine's whole environment: an allow-list, threads set before any import."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    count = str(threads)
    return kept | {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "HF_HOME": str(home / "hf"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # the driver's own, by which the node counts
        "ORT_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",  # progress goes to whoever waits, not to the log
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "OMP_WAIT_POLICY": "passive",
        "KMP_BLOCKTIME": "0",
        "GOMP_SPINCOUNT": "0",
        "GGML_NO_BACKTRACE": "1",  # a debugger would hold up an end by seconds
        "PYTHONUNBUFFERED": "1",
    }


@dataclass(slots=True, eq=False)
class EngineProcess(asyncio.Protocol):
    """Made by `spawn`; `tag` names it in logs until it serves a model."""

    child: asyncio.subprocess.Process
    tag: str
    listener: Listener | None = None
    transport: asyncio.Transport | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    lost: bool = False
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=LINES))  # the last it wrote
    _parser: wire.FrameParser = field(default_factory=wire.FrameParser)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _logged: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def alive(self) -> bool:
        return not self.lost and self.child.returncode is None

    def send(self, message: wire.Any, stream: int = 0) -> None:
        if self.transport and not self.transport.is_closing():
            self.transport.write(wire.encode(message, stream))

    def kill(self) -> None:
        """End it now, with whatever it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)

    async def stop(self) -> None:
        """Close its socket, which makes it exit; kill it if it does not. Returns when it is gone."""
        if self.transport:
            self.transport.close()
        try:
            await asyncio.wait_for(self.ended.wait(), STOP_GRACE_S)
        except TimeoutError:
            self.kill()
            await self.ended.wait()

    # --- asyncio.Protocol -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  for the type checker
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            for frame in self._parser.feed(data):
                if self.listener:
                    self.listener.on_frame(self, frame)
        except wire.FrameError:
            log.exception("%s sent bytes that are no frame", self.tag, extra={"model": self.tag})
            self.kill()

    def connection_lost(self, exc: Exception | None) -> None:
        """An engine without its socket is of no use, even if its process hangs on."""
        del exc
        self.lost = True
        self._tasks.append(asyncio.ensure_future(self._end()))

    def watch(self) -> None:
        self._logged = asyncio.ensure_future(self._copy_logs())

    async def _end(self) -> None:
        await self._report_end()
        await self._reap()

    async def _report_end(self) -> None:
        """After its last words: they may say why. What it has started may hold them open."""
        if self._logged:
            await asyncio.wait([self._logged], timeout=LAST_WORDS_S)
        listener, self.listener = self.listener, None
        if listener:
            listener.on_exit(self)

    async def _reap(self) -> None:
        try:
            await asyncio.wait_for(self.child.wait(), STOP_GRACE_S)
        except TimeoutError:
            self.kill()
            await self.child.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)  # what it may have left in its group
        self.ended.set()

    async def _copy_logs(self) -> None:
        stream = self.child.stdout
        while stream:
            try:
                line = await stream.readline()
            except ValueError:
                continue  # a line over the limit: dropped, the next ones are read
            if not line:
                return
            text = line.decode("utf-8", "replace").rstrip()
            self.lines.append(f"{time.strftime('%H:%M:%S', time.gmtime())} {text[:LINE_CHARS]}")
            log.info("%s", text, extra={"model": self.tag, "request_id": ""})


async def spawn(
    tag: str, env: Mapping[str, str], *, prepare: Sequence[str] = (), network: bool = False
) -> EngineProcess:
    """Start a worker that waits for its `Start` frame. Raises: OSError."""
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER_BYTES)
    try:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", WORKER, "--fd", str(theirs.fileno())),
            *("--parent", str(os.getpid()), "--prepare", ",".join(prepare)),
            *(["--network"] if network else []),
            pass_fds=[theirs.fileno()],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(env),
            cwd=ROOT,
            process_group=0,
            limit=LOG_LINE_BYTES,
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    ours.setblocking(False)
    process = EngineProcess(child, tag)
    await asyncio.get_running_loop().create_connection(lambda: process, sock=ours)
    process.watch()
    return process
