"""A real hub for tests: Valkey, web and node as processes of their own, on a free port.

`with servers.hub(models=[...]) as hub:` gives its address and keys; nothing outlives the block.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parent.parent
READY_TIMEOUT_S = 60.0
POLL_S = 0.05
STOP_TIMEOUT_S = 15.0


@dataclass
class Hub:
    """Where it is, who may enter, and its processes."""

    data: Path
    port: int
    env: dict[str, str]
    keys: dict[str, str] = field(default_factory=dict)
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def key(self) -> str:
        return self.keys["default"]

    @property
    def node_address(self) -> str:
        return self.env["AI_HUB_NODE_ADDRESS"]

    def client(self, key: str | None = None, **options: Any) -> httpx.Client:
        """Open a plain HTTP client at /v1, with the default key."""
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return httpx.Client(base_url=f"{self.url}/v1", headers=headers, timeout=60, **options)

    def log(self, name: str) -> str:
        return (self.data / f"{name}.log").read_text(errors="replace")


@contextmanager
def hub(
    models: list[dict[str, Any]] = [],  # noqa: B006 (never changed)
    aliases: dict[str, str] | None = None,
    keys: dict[str, dict[str, Any]] | None = None,
    node_address: str | None = None,
    **env: str,
) -> Iterator[Hub]:
    """Run a hub. With `node_address` the node is somebody else's, such as a test's own."""
    with tempfile.TemporaryDirectory(prefix="hub-") as folder, ExitStack() as stack:
        started = Hub(Path(folder), free_port(), _environment(Path(folder), env))
        started.env["AI_HUB_PORT"] = str(started.port)
        started.env["AI_HUB_NODE_ADDRESS"] = node_address or f"unix:{folder}/node.sock"
        stack.callback(_stop, started)
        start_valkey(started)
        _manage(started, "migrate", "--verbosity", "0")
        wanted = {"models": models, "aliases": aliases or {}, "keys": keys or {"default": {}}}
        started.keys = json.loads(_run(started, ["-m", "tests.seed"], json.dumps(wanted)))
        if node_address is None:
            start(started, "node", "serve_models")
        start(started, "web", "serve_web")
        _wait_ready(started)
        yield started


def start(hub: Hub, name: str, *command: str) -> None:
    """Start `manage.py command` as a process of this hub (again, if it was killed)."""
    argv = [sys.executable, str(ROOT / "manage.py"), *command]
    with (hub.data / f"{name}.log").open("ab") as log:
        hub.processes[name] = subprocess.Popen(
            argv, env=hub.env, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )


def another_web(hub: Hub) -> Hub:
    """Start one more web process of the same hub; it ends with the hub."""
    port = free_port()
    twin = replace(hub, port=port, env={**hub.env, "AI_HUB_PORT": str(port)})
    start(twin, f"web-{port}", "serve_web")
    _wait_ready(twin)
    return twin


def until(done: Callable[[], bool]) -> None:
    """Ask again and again; what takes longer than a start does not come."""
    until_s = time.monotonic() + READY_TIMEOUT_S
    while not done():
        assert time.monotonic() < until_s, "it did not come"
        time.sleep(POLL_S)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(folder: Path, extra: dict[str, str]) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AI_HUB_")}
    return {
        **kept,
        "AI_HUB_DATA": str(folder),
        "AI_HUB_REDIS_URL": f"unix://{folder}/valkey.sock",
        "DJANGO_SETTINGS_MODULE": "hub.settings",
        "OMP_NUM_THREADS": "1",
        "AI_HUB_STANDBY": "0",
        **extra,
    }


def start_valkey(hub: Hub) -> None:
    from hub.supervisor import valkey  # noqa: PLC0415 (`hub` is a parameter's name here)

    argv = valkey.command(hub.data / "valkey.sock", hub.data)
    server = subprocess.Popen(argv, stdout=subprocess.DEVNULL, start_new_session=True)
    hub.processes["valkey"] = server
    valkey.wait_ready(hub.env["AI_HUB_REDIS_URL"], server)


def _manage(hub: Hub, *command: str) -> None:
    _run(hub, ["manage.py", *command], "")


def _run(hub: Hub, argv: list[str], stdin: str) -> str:
    done = subprocess.run(
        [sys.executable, *argv],
        env=hub.env,
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{argv} failed: {done.stderr[-2000:]}")
    return done.stdout


def _wait_ready(hub: Hub) -> None:
    """Raises: RuntimeError with the log when a process ends, or the time is over."""
    until_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < until_s:
        for name, process in hub.processes.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended: {hub.log(name)[-2000:]}")
        if _answers(hub):
            return
        time.sleep(POLL_S)
    raise RuntimeError(f"the hub did not start: {hub.log('web')[-2000:]}")


def _answers(hub: Hub) -> bool:
    try:
        return httpx.get(f"{hub.url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def _stop(hub: Hub) -> None:
    """Stop in the reverse order of starting."""
    for process in reversed(hub.processes.values()):
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
