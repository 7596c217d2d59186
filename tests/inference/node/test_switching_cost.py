"""The recorded trace in virtual time: nothing fails, memory holds, and it switches less than others."""

import pytest

from inference.node.scheduler import Scheduler
from tests.inference.node.baselines import FirstIdle, LeastRecentlyUsed, Plain
from tests.inference.node.simulation import Outcome, simulate
from tests.inference.node.traces import BED, MEMORY_GB, generate, recorded

LONGEST_WAIT_S = 60.0
RATIO = 0.7
UNSEEN = 12  # a seed of the generator


@pytest.fixture(scope="module")
def ours() -> Outcome:
    return simulate(recorded())


def test_the_recorded_trace_is_the_generators() -> None:
    assert recorded() == generate()
    assert {ask.model for ask in recorded()} == {*BED}


def test_it_serves_everybody_within_a_bound_and_within_memory(ours: Outcome) -> None:
    assert ours.failed == 0
    assert len(ours.waits_s) == len(recorded())
    assert max(ours.waits_s) < LONGEST_WAIT_S
    assert ours.peak <= MEMORY_GB * 1_000


def test_nobody_waits_longer_on_a_trace_that_it_was_not_tuned_on() -> None:
    """Where busy models were drained after 20 s, somebody waited for 121 s here."""
    found = simulate(generate(UNSEEN))
    assert found.failed == 0
    assert max(found.waits_s) < LONGEST_WAIT_S


@pytest.mark.parametrize("baseline", [LeastRecentlyUsed, FirstIdle])
def test_it_switches_less_and_waits_less(ours: Outcome, baseline: type[Plain]) -> None:
    theirs = simulate(recorded(), baseline)
    assert ours.switches <= RATIO * theirs.switches
    assert ours.p95_s <= RATIO * theirs.p95_s


def test_the_simulator_gives_the_same_outcome_twice(ours: Outcome) -> None:
    assert simulate(recorded(), Scheduler) == ours
