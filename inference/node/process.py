"""One engine process: started with a bare environment, spoken to over a socketpair, ended for good."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import psutil

from inference import wire

ROOT = Path(__file__).resolve().parents[2]
STOP_GRACE_S = 3.0
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "TZ")
KEPT_PREFIXES = ("CUDA_", "NVIDIA_", "LLAMA_")
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}

log = logging.getLogger(__name__)


def environment(threads: int) -> dict[str, str]:
    """Give an allow-list: engines get no secret and no address."""
    kept = {k: v for k, v in os.environ.items() if k in KEPT or k.startswith(KEPT_PREFIXES)}
    count = str(threads)
    return {
        **kept,
        **OFFLINE,
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "OMP_WAIT_POLICY": "passive",
        "KMP_BLOCKTIME": "0",
        "GOMP_SPINCOUNT": "0",
    }


class EngineProcess(asyncio.Protocol):
    """`on_frame` gets every frame; `on_lost` is called once, when the socket closes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._parser = wire.FrameParser()
        self._transport: asyncio.Transport | None = None
        self._early: list[wire.Frame] = []
        self._listener: tuple[Callable[[wire.Frame], None], Callable[[], None]] | None = None
        self._lost = False
        self.tag = "standby"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None and not self._lost

    def listen(self, on_frame: Callable[[wire.Frame], None], on_lost: Callable[[], None]) -> None:
        self._listener = (on_frame, on_lost)
        for frame in self._early:
            on_frame(frame)
        self._early.clear()
        if self._lost:
            on_lost()

    def send(self, message: wire.Any, stream: int = 0) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(wire.encode(message, stream))

    def memory_bytes(self) -> int:
        """Give resident bytes now; 0 when it has ended."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    async def stop(self, *, force: bool = False) -> None:
        """End the process and wait until it is reaped: then its memory is back."""
        if self._transport is not None:
            self._transport.abort()
        if not force:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), STOP_GRACE_S)
        self.kill()
        await self._process.wait()

    def kill(self) -> None:
        """The whole group, so that nothing that the engine started stays."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    # --- what the event loop calls --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._parser.feed(data)
        except wire.FrameError:
            log.exception("%s: no frame of ours", self.tag)
            self.kill()
            return
        for frame in frames:
            self._take(frame)

    def _take(self, frame: wire.Frame) -> None:
        if self._listener is None:
            self._early.append(frame)
        else:
            self._listener[0](frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._listener is not None:
            self._listener[1]()

    async def relay_logs(self) -> None:
        """Pass the engine's lines on, tagged, until it closes its stderr."""
        assert self._process.stderr is not None  # noqa: S101
        with contextlib.suppress(
            ValueError
        ):  # a line over the limit ends the relay, not the engine
            async for line in self._process.stderr:
                log.info("%s: %s", self.tag, line.decode(errors="replace").rstrip())


async def spawn(threads: int, prepare: str = "") -> EngineProcess:
    """Start a worker; it waits for `Start`. `prepare`: modules to import before.

    Raises: OSError.
    """
    ours, theirs = socket.socketpair()
    command = ["-m", "inference.engines.worker", "--fd", str(theirs.fileno())]
    command += ["--parent", str(os.getpid()), "--prepare", prepare]
    with theirs:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            cwd=ROOT,
            env=environment(threads),
            pass_fds=(theirs.fileno(),),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    engine = EngineProcess(process)
    await asyncio.get_running_loop().create_unix_connection(lambda: engine, sock=ours)
    return engine
