"""What was decided is known to the next node, whatever became of the last one."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

from inference import wire
from inference.node.chronicle import KEPT, LOST, Chronicle
from tests.inference.node.nodes import Node, ask, fake, watching


def decision(model: str, action: str = "wait", at: float = 1.0) -> wire.Decision:
    return wire.Decision(at=at, action=action, model=model, reason="because")


def test_the_next_one_reads_what_the_last_one_wrote(tmp_path: Path) -> None:
    file = tmp_path / "state" / "decisions.ndjson"
    first = Chronicle(file)
    for name in ("a", "b"):
        first.add(decision(name))
    assert [one.model for one in Chronicle(file).decisions] == ["a", "b"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_torn_line_costs_itself_only(tmp_path: Path) -> None:
    file = tmp_path / "decisions.ndjson"
    Chronicle(file).add(decision("a"))
    file.write_bytes(file.read_bytes() + b'{"at": 3, "act\n\xff\xfe\n[]\n')
    again = Chronicle(file)
    again.add(decision("b"))
    assert [one.model for one in Chronicle(file).decisions] == ["a", "b"]


def test_the_file_stays_small_and_keeps_the_newest(tmp_path: Path) -> None:
    file = tmp_path / "decisions.ndjson"
    chronicle = Chronicle(file)
    for at in range(5 * KEPT):
        chronicle.add(decision("a", at=float(at)))
    assert len(file.read_bytes().splitlines()) <= 2 * KEPT
    kept = Chronicle(file).decisions
    assert [one.at for one in kept] == [float(at) for at in range(4 * KEPT, 5 * KEPT)]


def test_a_disk_that_takes_nothing_stops_nobody(tmp_path: Path) -> None:
    file = tmp_path / "a-file" / "decisions.ndjson"
    file.parent.write_text("in the way")
    chronicle = Chronicle(file)
    chronicle.add(decision("a"))
    assert [one.model for one in chronicle.decisions] == ["a"]


async def test_a_killed_node_leaves_its_history_to_the_next(
    start: Callable[..., Node],
) -> None:
    node = start()
    await ask(node, wire.Load(spec=fake("kept")))
    await ask(node, wire.Load(spec=fake("gone")))
    await ask(node, wire.Unload(model="gone"))
    os.kill(node.process.pid, signal.SIGKILL)
    node.process.wait()
    again = start()
    async with watching(again) as snapshots:
        told = (await anext(snapshots)).decisions
    assert [(one.model, one.action) for one in told] == [
        ("kept", "load"),
        ("gone", "load"),
        ("gone", "unload"),
        ("kept", "unload"),
    ]
    assert told[-1].reason == LOST
