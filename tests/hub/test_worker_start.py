"""A worker that starts before Redis does takes up what was left undone once Redis is there."""

import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from hub.supervisor import valkey
from tests.hub import processes

WAIT_S = 120


def test_it_waits_for_redis_and_then_begins(tmp_path_factory: pytest.TempPathFactory) -> None:
    data: Path = tmp_path_factory.mktemp("w")
    address = {"AI_HUB_REDIS_URL": f"unix://{data}/v", "AI_HUB_MODELS": str(data / "none")}
    migrated = processes.manage(data, 1, "migrate", "--verbosity", "0", **address)
    assert migrated.returncode == 0, migrated.stderr
    command = [sys.executable, "manage.py", "run_worker"]
    worker = subprocess.Popen(
        command,
        cwd=processes.ROOT,
        env=processes.environment(data, 1, **address),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    running: list[subprocess.Popen[Any]] = [worker]
    try:
        lines = read(worker)
        wait_for(lines, "work left undone waits for Redis")
        running.append(subprocess.Popen(valkey.command(data / "v", data)))
        wait_for(lines, "model not prepared")  # it was asked for; its files are not there
    finally:
        for process in running:
            process.kill()
            process.wait()


def read(process: "subprocess.Popen[str]") -> "queue.Queue[str]":
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=lambda: [*map(lines.put, process.stdout or ())], daemon=True).start()
    return lines


def wait_for(lines: "queue.Queue[str]", text: str) -> None:
    while text not in (line := lines.get(timeout=WAIT_S)):
        assert "Traceback" not in line
