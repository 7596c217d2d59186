"""`manage.py runhub`: everything starts, survives a crash, and ends without a trace."""

import json
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.hub import processes

READY_S = 120


@dataclass
class Hub:
    """A running hub and its lines."""

    process: "subprocess.Popen[str]"
    url: str
    data: Path
    port: int
    lines: "queue.Queue[str]"

    def wait_line(self, wanted: Callable[[str], bool]) -> str:
        while not wanted(line := self.lines.get(timeout=READY_S)):
            pass
        return line

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def named(self, command: str) -> psutil.Process:
        return next(found for found in self.descendants() if command in found.cmdline())


def start(data: Path, **variables: str) -> Hub:
    port = processes.free_port()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "runhub"],
        cwd=processes.ROOT,
        env=processes.environment(data, port, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    return Hub(process, f"http://127.0.0.1:{port}", data, port, lines)


def _read(process: "subprocess.Popen[str]", lines: "queue.Queue[str]") -> None:
    for line in process.stdout or ():
        lines.put(line)
    lines.put("(ended)")


@contextmanager
def running(data: Path, **variables: str) -> Iterator[Hub]:
    hub = start(data, **variables)
    try:
        hub.wait_line(lambda line: "is ready" in line)
        yield hub
    finally:
        _kill(hub)


def _kill(hub: Hub) -> None:
    """Take its children first: they would end by themselves with it."""
    left = hub.descendants() if hub.process.poll() is None else []
    hub.process.kill()
    hub.process.wait(30)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """One for tests that leave it running."""
    with running(tmp_path_factory.mktemp("hub") / "data") as hub:
        yield hub


@pytest.fixture
def own_hub(tmp_path: Path) -> Iterator[Hub]:
    """One for a test that ends it."""
    with running(tmp_path / "data") as hub:
        yield hub


def test_it_stops_on_sigterm_without_leaving_a_process(own_hub: Hub) -> None:
    link = own_hub.wait_line(lambda line: "/setup/" in line)
    assert own_hub.url in link
    before = own_hub.descendants()
    assert own_hub.named("serve_web") in before
    assert own_hub.named("run_worker") in before
    own_hub.process.send_signal(signal.SIGTERM)
    assert own_hub.process.wait(10) == 0
    assert [process for process in before if process.is_running()] == []


def test_its_json_lines_name_a_file_instead_of_the_set_up_link(tmp_path: Path) -> None:
    with running(tmp_path / "data", AI_HUB_LOG_FORMAT="json") as hub:
        seen = hub.wait_line(lambda line: "First start" in line)
        link = (hub.data / "setup-link").read_text().strip()
        assert link.startswith(f"{hub.url}/setup/")
        assert link not in seen
        assert str(hub.data / "setup-link") in json.loads(seen)["event"]


def test_it_takes_everything_along_when_it_is_killed(own_hub: Hub) -> None:
    before = own_hub.descendants()
    own_hub.process.kill()
    _, alive = psutil.wait_procs(before, timeout=30)
    assert alive == []


def test_it_goes_on_when_web_is_killed(hub: Hub) -> None:
    worker = hub.named("run_worker").pid
    hub.named("serve_web").kill()
    hub.wait_line(lambda line: "web was ended by SIGKILL" in line)
    transport = httpx.HTTPTransport(retries=10)
    with httpx.Client(transport=transport, trust_env=False, timeout=60) as client:
        assert client.get(f"{hub.url}/healthz").is_success, "the port stays open meanwhile"
    assert hub.named("run_worker").pid == worker


def test_it_refuses_a_second_one_on_the_same_data(hub: Hub) -> None:
    done = processes.manage(hub.data, processes.free_port(), "runhub")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"another hub (process {hub.process.pid})" in done.stderr


def test_it_refuses_a_busy_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = processes.manage(tmp_path, port, "runhub")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "AI_HUB_PORT" in done.stderr
