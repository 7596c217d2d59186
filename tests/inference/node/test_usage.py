"""What is learned from the gaps between a model's requests."""

from hypothesis import given
from hypothesis import strategies as st

from inference.node.usage import Usage


def used(*times: float) -> Usage:
    usage = Usage()
    for at in times:
        usage.count(at)
    return usage


def test_a_busy_model_is_wanted_again_sooner_than_a_rare_one() -> None:
    busy = used(*range(0, 1_000, 5))
    rare = used(0, 500, 995)
    assert busy.chance(1_000) > 0.9 > rare.chance(1_000)


def test_a_burst_that_is_over_is_over() -> None:
    burst = used(*(0.5 * number for number in range(100)))
    assert burst.chance(49.6) > 0.8 > 0.5 > burst.chance(600)


@given(st.lists(st.floats(0, 1e6), max_size=30), st.floats(0, 1e7), st.floats(0.1, 1e4))
def test_a_chance_is_one_and_grows_with_the_horizon(
    gaps: list[float], idle_s: float, horizon_s: float
) -> None:
    times = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    usage, now = used(*times), sum(gaps) + idle_s
    assert 0 <= usage.chance(now, horizon_s) <= usage.chance(now, 2 * horizon_s) <= 1
