"""`python -m training.tracking.server SOCKET ARTIFACTS`: MLflow's own server, for the hub's door alone.

It listens on a unix socket from the start, and imports MLflow (seconds, 250 MB) when somebody comes; after
a quiet while it begins anew with nothing imported. `MLFLOW_TRACKING_URI` names the database, ARTIFACTS
the folder of artifacts. Each team has a workspace of its own, which the header of a request names.
"""

import argparse
import asyncio
import os
import select
import socket
import sys
import time
from pathlib import Path
from typing import Any

from training.tracking import workspaces
from training.tracking.leaving import leave_with_parent

IDLE_S = 900.0
CHECK_EVERY_S = 5.0
BACKLOG = 64
DESCRIPTOR = "HUB_MLFLOW_SOCKET"  # the listening socket, handed on to the next life
PREFIX = "/mlflow"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m training.tracking.server", description=__doc__)
    parser.add_argument("socket", type=Path, help="where to listen")
    parser.add_argument("artifacts", type=Path, help="folder of artifacts")
    parser.add_argument("--idle", type=float, default=IDLE_S, help="seconds without a request")
    chosen = parser.parse_args(arguments)
    leave_with_parent()
    listener = _listener(chosen.socket)
    select.select([listener], [], [])
    _configure(os.environ["MLFLOW_TRACKING_URI"], chosen.artifacts)
    asyncio.run(_serve(listener, chosen.artifacts, chosen.idle))
    _begin_anew(listener)


def _listener(place: Path) -> socket.socket:
    """Take over the socket of the last life, or bind it. Raises: OSError."""
    if number := os.environ.pop(DESCRIPTOR, ""):
        return socket.socket(fileno=int(number))
    place.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        made.bind(str(place))
    finally:
        os.umask(mask)
    made.listen(BACKLOG)
    made.setblocking(False)
    return made


def _configure(uri: str, artifacts: Path) -> None:
    """What MLflow's command line would say to its server; no jobs, no telemetry."""
    os.environ |= workspaces.environment(artifacts) | {
        "_MLFLOW_SERVER_FILE_STORE": uri,
        "_MLFLOW_STATIC_PREFIX": PREFIX,
        "_MLFLOW_SGI_NAME": "uvicorn",
        "_MLFLOW_IN_JOB_EXECUTOR": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }


async def _serve(listener: socket.socket, artifacts: Path, idle_s: float) -> None:
    """Answer until nobody has asked for `idle_s`."""
    import uvicorn  # noqa: PLC0415  nothing is imported before somebody comes

    watched = Watched(_application(artifacts))
    config = uvicorn.Config(
        watched, lifespan="off", access_log=False, log_level="warning", ws="none"
    )
    server = uvicorn.Server(config)
    _leave_when_quiet(server, watched, idle_s)
    await server.serve(sockets=[listener.dup()])


def _application(artifacts: Path) -> Any:
    from training.tracking import store  # noqa: PLC0415

    store.prepare(os.environ["MLFLOW_TRACKING_URI"], artifacts)
    from mlflow.server.fastapi_app import app  # noqa: PLC0415

    return app


class Watched:
    """An application that knows when it was last at work."""

    def __init__(self, application: Any) -> None:
        self.application = application
        self.running = 0
        self.last_s = time.monotonic()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.running += 1
        try:
            await self.application(scope, receive, send)
        finally:
            self.running -= 1
            self.last_s = time.monotonic()


def _leave_when_quiet(server: Any, watched: Watched, idle_s: float) -> None:
    """Look again and again; between two looks nothing runs."""
    if not watched.running and time.monotonic() - watched.last_s >= idle_s:
        server.should_exit = True
        return
    again_s = min(idle_s, CHECK_EVERY_S)
    asyncio.get_running_loop().call_later(again_s, _leave_when_quiet, server, watched, idle_s)


def _begin_anew(listener: socket.socket) -> None:
    """The same process with all its memory given back; whoever comes meanwhile waits in the backlog."""
    os.set_inheritable(listener.fileno(), True)
    os.environ[DESCRIPTOR] = str(listener.fileno())
    os.execv(sys.executable, [sys.executable, "-m", "training.tracking.server", *sys.argv[1:]])  # noqa: S606


if __name__ == "__main__":
    main()
