"""What a killed node left behind is ended by the next one, and nobody else is."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from inference.node.process import ROOT, WORKER
from inference.node.reaper import Roster


@pytest.fixture
def engine() -> Iterator[subprocess.Popen[bytes]]:
    """A real worker that waits for its first frame, in a group of its own as the node starts it."""
    ours, theirs = socket.socketpair()
    argv = [sys.executable, "-m", WORKER, "--fd", str(theirs.fileno())]
    with ours, theirs:
        child = subprocess.Popen(argv, pass_fds=[theirs.fileno()], process_group=0, cwd=ROOT)
        yield child
        child.kill()
        child.wait()


def roster(folder: Path, *pids: int) -> Roster:
    found = Roster(folder / "engines.json")
    found.keep(pids)
    return Roster(folder / "engines.json")


def test_it_ends_an_engine(engine: subprocess.Popen[bytes], tmp_path: Path) -> None:
    assert roster(tmp_path, engine.pid).reap() == [engine.pid]
    assert engine.wait(10) == -signal.SIGKILL


def test_it_ends_what_an_engine_had_started(tmp_path: Path) -> None:
    """The engine is gone, its child is not: as when vLLM's server is killed and a worker stays."""
    argv = ["sh", "-c", "sleep 1000 & echo $!; read _"]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0
    ) as leader:
        assert leader.stdout
        orphan = psutil.Process(int(leader.stdout.readline()))
        known = roster(tmp_path, leader.pid)
        leader.kill()
        leader.wait()
        assert known.reap() == [leader.pid]
        psutil.wait_procs([orphan], 10)
        assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


def test_it_leaves_a_later_owner_of_the_number_alone(
    engine: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    known = roster(tmp_path, engine.pid)
    file = tmp_path / "engines.json"
    file.write_text(json.dumps({str(engine.pid): psutil.Process(engine.pid).create_time() - 60}))
    assert known.reap() == []
    assert engine.poll() is None


def test_it_leaves_other_programs_alone(tmp_path: Path) -> None:
    assert roster(tmp_path, os.getpid()).reap() == []


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"x": 1}', '{"999999999": 1.0}'])
def test_it_survives_a_broken_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "engines.json").write_text(content)
    assert Roster(tmp_path / "engines.json").reap() == []
