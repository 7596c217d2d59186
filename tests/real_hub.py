"""A real hub for a benchmark: `manage.py runhub` on a data folder of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.load import Target

ROOT = Path(__file__).resolve().parents[1]
START_LIMIT_S = 300.0
SCOPES = ("training", "inference", "models:read", "models:manage", "status:read")


@dataclass(frozen=True)
class Hub:
    """A running hub; `cpu_s` and `memory_bytes` take the names of its parts."""

    process: subprocess.Popen[bytes]
    port: int
    key: str

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def target(self, model: str, **extra: object) -> Target:
        return Target("hub", self.base_url, model, self.key, extra)

    def parts(self, *names: str) -> list[psutil.Process]:
        """Find processes of the hub whose command line holds one of the names."""
        tree = psutil.Process(self.process.pid).children(recursive=True)
        return [p for p in tree if any(name in " ".join(p.cmdline()) for name in names)]


def cpu_s(processes: list[psutil.Process]) -> float:
    return sum(sum(p.cpu_times()[:2]) for p in processes)


def memory_bytes(processes: list[psutil.Process]) -> int:
    return sum(p.memory_info().rss for p in processes)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(data: Path, **settings: str) -> Iterator[Hub]:
    """Start a hub, make an administrator and a key, stop it at the end."""
    port = free_port()
    env = {**os.environ, "AI_HUB_DATA": str(data), "AI_HUB_PORT": str(port), **settings}
    log = (data / "bench.log").open("wb") if data.exists() else subprocess.DEVNULL
    process = subprocess.Popen(
        [sys.executable, "manage.py", "runhub"], cwd=ROOT, env=env, stdout=log, stderr=log
    )
    try:
        wait_ready(f"http://127.0.0.1:{port}/readyz", process)
        yield Hub(process, port, make_key(env))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def wait_ready(url: str, process: subprocess.Popen[bytes], limit_s: float = START_LIMIT_S) -> None:
    """Raises: RuntimeError when the process ends or the time is over."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.3)
    raise RuntimeError(f"{url} did not become ready")


def make_key(env: dict[str, str]) -> str:
    """Make the account `bench` if it is new, and a key for it that may do what benchmarks do."""
    manage = [sys.executable, "manage.py"]
    scopes = [word for scope in SCOPES for word in ("--scope", scope)]
    subprocess.run(
        [*manage, "create_admin", "--username", "bench"],
        cwd=ROOT,
        env=env,
        input=b"correct-horse-battery-9\n",
        capture_output=True,
        check=False,
    )
    made = subprocess.run(
        [*manage, "create_key", "--user", "bench", "--name", "bench", *scopes],
        cwd=ROOT,
        env=env,
        capture_output=True,
        check=True,
    )
    return made.stdout.decode().split()[-1]


@contextmanager
def peer(
    command: list[str], ready_url: str, limit_s: float, **env: str
) -> Iterator[psutil.Process]:
    """Run another server for comparison."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_ready(ready_url, process, limit_s)
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(30)
