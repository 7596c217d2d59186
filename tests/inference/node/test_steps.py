"""What a measured peak is worth: what was not asked for stays guessed, the rest is known."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from inference import wire
from inference.node.memory import learnt
from inference.node.peaks import Peaks
from inference.node.placement import Placement
from inference.node.steps import Step

FULL = wire.Worked(kv_bytes=1_000, rows=8, prompt_tokens=512, pixels=100)
STEP = Step(loop=50, prompts=40, rows=80, tables=300, pictures=120, full=FULL)
LOADED = wire.Loaded(memory_bytes=5_000, kv_bytes=100, kv_limit_bytes=1_000)
PLACE = Placement("cpu", {"cpu": 9_000}, kv_bytes=1_000, step=STEP)
MODEL = wire.ModelSpec(name="m", kind="llm", engine="llm_transformers", path="")


def test_an_engine_that_worked_as_much_as_is_planned_leaves_nothing_to_guess() -> None:
    assert STEP.left(FULL) == 0
    assert learnt(PLACE, LOADED, 7_000, FULL) == (6_000, 0)


def test_an_engine_that_was_asked_nothing_is_guessed_as_before() -> None:
    assert STEP.left(wire.Worked()) == STEP.bytes == 590
    assert learnt(PLACE, LOADED, 9_000, wire.Worked()) == (8_000, 590)


def test_what_was_not_asked_for_stays_in_the_claim() -> None:
    text = wire.Worked(kv_bytes=500, rows=4, prompt_tokens=512)
    assert STEP.left(text) == 0 + 40 + 150 + 120
    assert learnt(PLACE, LOADED, 7_000, text) == (6_500 + 310, 310)


@given(st.lists(st.integers(0, 2_000), min_size=8, max_size=8))
def test_more_work_leaves_less_to_guess(sizes: list[int]) -> None:
    names = ("kv_bytes", "rows", "prompt_tokens", "pixels")
    less = wire.Worked(**dict(zip(names, map(min, sizes[:4], sizes[4:]), strict=True)))
    more = wire.Worked(**dict(zip(names, map(max, sizes[:4], sizes[4:]), strict=True)))
    assert 0 <= STEP.left(more) <= STEP.left(less) <= STEP.bytes


def test_a_better_measure_replaces_a_guess_and_a_worse_one_does_not(tmp_path: Path) -> None:
    peaks = Peaks(tmp_path / "peaks.json")
    peaks.remember(MODEL, "cpu", 1_000, 590)  # just loaded
    peaks.remember(MODEL, "cpu", 700, 10)  # after a day's work
    assert peaks.get(MODEL, "cpu") == 700
    peaks.remember(MODEL, "cpu", 1_000, 590)  # just loaded again
    assert Peaks(tmp_path / "peaks.json").get(MODEL, "cpu") == 700
    peaks.remember(MODEL, "cpu", 1_500, 590)  # more was measured than is known
    assert peaks.get(MODEL, "cpu") == 910


def test_what_an_older_node_kept_is_replaced_by_a_better_measure(tmp_path: Path) -> None:
    file = tmp_path / "peaks.json"
    file.write_text(json.dumps({"fixed|m@|llm_transformers|auto|0x32|cpu": 1_000}))
    peaks = Peaks(file)
    assert peaks.get(MODEL, "cpu") == 1_000
    peaks.remember(MODEL, "cpu", 700, 10)
    assert peaks.get(MODEL, "cpu") == 700
