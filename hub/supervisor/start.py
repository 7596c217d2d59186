"""From a folder to a running hub: claim it, prepare it, start all processes, say where it is."""

import asyncio
import http.client
import os
import shutil
import socket
import sys
from typing import Any

from django.conf import settings
from prometheus_client.multiprocess import mark_process_dead

from accounts import setup
from hub import config_watch, prepared, telemetry
from hub.supervisor import claims, valkey
from hub.supervisor.children import Child
from hub.supervisor.logs import Terminal
from hub.supervisor.supervisor import Supervisor
from inference import router
from inference.errors import NodeUnavailable

POLL_S = 0.1


def run() -> None:
    """Run the hub until it is told to stop.

    Raises: claims.Taken; TimeoutError when the embedded Redis does not start.
    """
    claims.claim_folder(settings.HUB_DATA)
    listener = claims.listen(settings.HUB_HOST, settings.HUB_PORT)
    os.environ["HUB_COLOUR"] = "1" if telemetry.wants_colour() else "0"
    terminal = Terminal(
        json_lines=settings.LOG_FORMAT == "json", colour=os.environ["HUB_COLOUR"] == "1"
    )
    _keep_config()
    terminal.line("hub", f"Starting, with all state in {settings.HUB_DATA}.")
    asyncio.run(_run(terminal, listener))
    terminal.line("hub", "Stopped.")


def _keep_config() -> None:
    """Let children that are started again later begin with the last config/hub.json that was valid."""
    config_watch.keep()
    config_watch.start(config_watch.keep)
    os.environ["HUB_KEEPS_CONFIG"] = "1"


async def _run(terminal: Terminal, listener: socket.socket) -> None:
    supervisor = Supervisor(terminal)
    supervisor.listen_to_signals()
    supervisor.bury_orphans()
    try:
        if settings.HUB_REDIS_IS_EMBEDDED:
            supervisor.add(_valkey())
            await asyncio.to_thread(valkey.wait_ready, settings.HUB_REDIS_URL)
        # It has no database to wait for.
        supervisor.add(_child("node", "serve_models", answers=_node_answers))
        if await _prepared(supervisor):
            for child in _web(listener):
                supervisor.add(child)
            await supervisor.while_running(_announce(supervisor))
            await supervisor.stopping.wait()
    finally:
        await supervisor.stop()


async def _prepared(supervisor: Supervisor) -> bool:
    """Have the data folder up to date, in a process of its own where there is something to do."""
    if await asyncio.to_thread(prepared.is_prepared):
        return True
    return await supervisor.run_once(_child("prepare", "prepare"))


def _child(name: str, *command: str, **options: Any) -> Child:
    manage = str(settings.BASE_DIR / "manage.py")
    return Child(name, (sys.executable, manage, *command), **options)


async def _node_answers() -> bool:
    """Ask for its state, which takes 5 s at most."""
    try:
        await router.snapshot()
    except NodeUnavailable:
        return False
    return True


def _valkey() -> Child:
    folder = settings.HUB_DATA / "valkey"
    folder.mkdir(mode=0o700, exist_ok=True)
    argv = valkey.command(settings.HUB_RUNTIME / "valkey.sock", folder)
    return Child("valkey", tuple(argv), last=True)


def _web(listener: socket.socket) -> list[Child]:
    """Several web processes accept from one socket: the port stays open while one restarts."""
    handle, count = listener.fileno(), settings.HUB_WEB_WORKERS
    serve = ("serve_web", "--descriptor", str(handle))
    if count == 1:
        return [_child("web", *serve, keep_fds=(handle,))]
    folder = _metrics_folder()
    shared: dict[str, Any] = {
        "keep_fds": (handle,),
        "env": {"PROMETHEUS_MULTIPROC_DIR": folder},
        "ended": lambda pid: mark_process_dead(pid, folder),  # type: ignore[no-untyped-call]
    }
    return [_child(f"web-{number}", *serve, **shared) for number in range(1, count + 1)]


def _metrics_folder() -> str:
    """Make the folder through which web processes add up their metrics, empty at each start."""
    folder = settings.HUB_RUNTIME / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return str(folder)


async def _announce(supervisor: Supervisor) -> None:
    """Say where the hub is once it answers, and how to begin while nobody administers it.

    Until then the cores are left to the web process; the worker has nothing to do before.
    """
    terminal, place = supervisor.terminal, _reachable(settings.HUB_HOST)
    base_url = settings.HUB_PUBLIC_URL or f"http://{place}"
    await _web_answers(place)
    supervisor.add(_child("worker", "run_worker"))
    if not settings.HUB_MLFLOW_URI:
        supervisor.add(_child("mlflow", "serve_mlflow"))
    link = await asyncio.to_thread(setup.issue_link, base_url)
    terminal.line("hub", f"AI Backend Hub is ready: {base_url}")
    if link:
        place = await asyncio.to_thread(_shown, link, terminal)
        terminal.line("hub", f"First start: make the admin account at {place}")
    terminal.line("hub", "Ctrl-C stops it.")


def _shown(link: str, terminal: Terminal) -> str:
    """JSON lines are collected and kept, and whoever reads them could be first: they name a file."""
    return f"the link in {setup.write_link(link)}" if terminal.json_lines else link


def _reachable(host: str) -> str:
    """Give host:port as a browser on this machine takes it."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - it is compared
    name = f"[{name}]" if ":" in name and not name.startswith("[") else name
    return f"{name}:{settings.HUB_PORT}"


async def _web_answers(place: str) -> None:
    """Wait as long as it takes: the supervisor says what fails meanwhile."""
    while True:
        if await asyncio.to_thread(_is_healthy, place):
            return
        await asyncio.sleep(POLL_S)


def _is_healthy(place: str) -> bool:
    """Ask with the standard library: an HTTP client's import is a fifth of a second."""
    asked = http.client.HTTPConnection(place, timeout=2)
    try:
        asked.request("GET", "/healthz")
        return asked.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asked.close()
