"""The supervisor keeps children alive, and leaves none behind."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from hub.supervisor.logs import Terminal
from tests.hub import supervision_cases
from tests.hub.supervision_cases import STAY

ROOT = Path(__file__).parents[2]
CASES = [name for name in vars(supervision_cases) if name.startswith("test_")]


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    """Run all cases in one process of their own; give each one's outcome by its name."""
    command = [sys.executable, "-m", "pytest", supervision_cases.__file__, "-rA", "--tb=short"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    lines = [line.split() for line in done.stdout.splitlines() if "::test_" in line]
    found = {words[1].rpartition("::")[2]: words[0] for words in lines if len(words) > 1}
    return {name: found.get(name, done.stdout + done.stderr) for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_case(outcomes: dict[str, str], name: str) -> None:
    assert outcomes[name] == "PASSED"


def test_it_takes_its_children_along_when_it_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(f"""
        import asyncio, sys
        from hub.supervisor.children import Child
        from hub.supervisor.logs import Terminal
        from hub.supervisor.supervisor import Supervisor

        async def main():
            supervisor = Supervisor(Terminal(json_lines=False, colour=False))
            supervisor.add(Child("a", (sys.executable, "-c", {STAY!r})))
            await supervisor.stopping.wait()

        asyncio.run(main())
        """)
    )
    process = subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, text=True, env=_with_path()
    )
    with process:
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline().split()[-1]))
        process.send_signal(signal.SIGKILL)
        _, alive = psutil.wait_procs([child], timeout=30)
    assert alive == []


def _with_path() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


async def test_it_prefixes_lines_and_cuts_endless_ones(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(json_lines=False, colour=False)
    reader = asyncio.StreamReader()
    reader.feed_data("chào\nlast".encode() + b"\xff" * 300_000)
    reader.feed_eof()
    await terminal.pump("web", reader)
    out = capsys.readouterr().out
    assert out.startswith("web     | chào\n")
    assert all(line.startswith("web     | ") for line in out.splitlines())


def test_it_makes_json_of_every_line(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(json_lines=True, colour=False)
    terminal.line("node", "plain")
    terminal.line("web", '{"event": "x"}')
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["event"], first["process"]) == ("plain", "node")
    assert second == {"event": "x"}
