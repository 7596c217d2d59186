"""Real server processes for tests: a hub's commands over a data folder of their own."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
READY_TRIES = 600


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(data: Path, port: int, **variables: str) -> dict[str, str]:
    """Give a child's variables: the hub's own settings, not those of the tests."""
    own = {
        "DJANGO_SETTINGS_MODULE": "hub.settings",
        "AI_HUB_DATA": str(data),
        "AI_HUB_PORT": str(port),
        "NO_COLOR": "1",
    }
    return {**os.environ, **own, **variables}


def manage(
    data: Path, port: int, *command: str, text: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a management command to its end."""
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env=environment(data, port, **variables),
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@contextmanager
def web(data: Path, **variables: str) -> Iterator[str]:
    """Serve the web application alone over a migrated database; give its address."""
    port = free_port()
    migrated = manage(data, port, "migrate", "--verbosity", "0", **variables)
    assert migrated.returncode == 0, migrated.stderr
    command = [sys.executable, "manage.py", "serve_web"]
    with (data / "web.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(data, port, **variables), stderr=log, stdout=log
        )
        try:
            _wait(f"http://127.0.0.1:{port}/healthz", process)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def _wait(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Ask until it answers; an ended process is an answer too."""
    transport = httpx.HTTPTransport(retries=3)
    with httpx.Client(transport=transport, trust_env=False, timeout=60) as client:
        for _ in range(READY_TRIES):
            assert process.poll() is None, "the server ended"
            try:
                if client.get(url).is_success:
                    return
            except httpx.ConnectError:
                continue
    raise AssertionError(f"no answer from {url}")
