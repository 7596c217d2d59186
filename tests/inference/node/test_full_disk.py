"""A node that can write nothing of what it measures loads, evicts and ends engines all the same."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from inference import wire
from inference.node.peaks import Peaks
from tests.inference.node.nodes import Node, ask, fake, generate, status, text

MB = 1_000_000


@pytest.fixture
def node(tmp_path: Path, start: Callable[..., Node]) -> Node:
    """The peaks' draft cannot be written, by nobody: a folder has its name."""
    (tmp_path / "state" / "peaks.new").mkdir(parents=True)
    return start(memory_limit_bytes=260 * MB, min_residency_s=0)


async def test_a_model_is_loaded_at_once_and_another_takes_its_room(
    node: Node, tmp_path: Path
) -> None:
    first, second = fake("first", memory_bytes=80 * MB), fake("second", memory_bytes=150 * MB)
    for spec in (first, second):
        assert text(await ask(node, generate(spec, "hi", 1))) == "hi"
    await status(node, "first", lambda m: m.state == "cold")
    loaded = await status(node, "second", lambda m: m.state == "ready")
    assert (loaded.loads_total, loaded.failures_total) == (1, 0)
    assert not (tmp_path / "state" / "peaks.json").exists()


async def test_a_model_that_has_grown_is_unloaded(node: Node) -> None:
    before = len(node.engines())
    spec = fake("mine", memory_bytes=80 * MB, eat_bytes=10 * MB)
    assert isinstance((await ask(node, generate(spec, "hi")))[-1], wire.Done)
    assert isinstance((await ask(node, wire.Unload(model="mine")))[-1], wire.Done)
    assert len(node.engines()) == before
    assert (await status(node, "mine", lambda _: True)).loads_total == 1


async def test_an_engine_that_outgrows_its_memory_is_ended(node: Node) -> None:
    greedy = fake("greedy", eat_bytes=400 * MB, tokens_per_s=20)
    failure = (await ask(node, generate(greedy, "x", 1_000_000)))[-1]
    assert failure.code == "out_of_memory"
    assert (await status(node, "greedy", lambda _: True)).loads_total == 1


def test_what_cannot_be_written_is_known_and_written_with_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, spec = tmp_path / "peaks.json", fake("m")
    peaks = Peaks(file)
    file.with_suffix(".new").mkdir()
    with caplog.at_level(logging.WARNING, "inference.node.peaks"):
        peaks.remember(spec, "cpu", 10 * MB)
        peaks.remember(spec, "cpu", 20 * MB)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert peaks.get(spec, "cpu") == 20 * MB
    file.with_suffix(".new").rmdir()
    peaks.learn_base("fake", "cpu", 30 * MB)
    assert Peaks(file).get(spec, "cpu") == 20 * MB
