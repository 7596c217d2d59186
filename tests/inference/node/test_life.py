"""An engine is given up for what it does and says, not for how long it takes."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from inference.node.life import BUSY_FACTOR, LOAD_FACTOR, Activity, Life, LoadLife, activity

HANG_S = 10.0
Look = Callable[[], Activity]


def stands_still() -> Activity:
    return Activity(cpu_s=5.0, wants_to_run=False)


def starves() -> Activity:
    return Activity(cpu_s=5.0, wants_to_run=True)


def computes() -> Look:
    cpu = itertools.count(5)
    return lambda: Activity(cpu_s=float(next(cpu)), wants_to_run=False)


def given_up(look: Look, speaks: bool) -> tuple[float, str]:
    """Tick as the pool does, from the last progress on; say when it is given up, and why."""
    life, now = Life(), 1000.0
    life.progressed(now)
    while not (wrong := life.verdict(HANG_S, now, look)):
        now += 0.25
        if speaks:
            life.spoke(now)
    return now - 1000.0, wrong


@pytest.mark.parametrize(
    ("look", "speaks", "after_s", "wrong"),
    [
        (stands_still, False, HANG_S, "silent"),
        (stands_still, True, 2 * HANG_S, "stuck"),
        (starves, False, BUSY_FACTOR * HANG_S, "stuck"),
        (computes(), False, BUSY_FACTOR * HANG_S, "stuck"),
        (computes(), True, BUSY_FACTOR * HANG_S, "stuck"),
    ],
)
def test_it_is_given_up(look: Look, speaks: bool, after_s: float, wrong: str) -> None:
    assert given_up(look, speaks) == (after_s, wrong)


def test_what_it_did_long_ago_is_no_sign_of_life() -> None:
    life = Life()
    for start in (1000.0, 5000.0):  # it served well in between, unobserved
        life.progressed(start)
        look = lambda start=start: Activity(cpu_s=start, wants_to_run=False)  # noqa: E731
        ended = next(t for t in range(100) if life.verdict(HANG_S, start + t, look))
        assert ended == HANG_S


def frozen_after(look: Look, speaks_until_s: float = 0.0) -> float | None:
    """Tick through 200 s of a load; say when it is given up."""
    life = LoadLife(1000.0)
    for tick in range(800):
        now = 1000.0 + tick / 4
        if tick / 4 <= speaks_until_s:
            life.spoke(now)
        if life.is_frozen(HANG_S, now, look):
            return now - 1000.0
    return None


def test_a_load_that_does_nothing_at_all_is_frozen() -> None:
    reads = itertools.count(5)
    assert frozen_after(stands_still) == LOAD_FACTOR * HANG_S
    assert frozen_after(stands_still, speaks_until_s=20) == 20 + LOAD_FACTOR * HANG_S
    assert frozen_after(starves) is None
    assert frozen_after(computes()) is None
    assert frozen_after(lambda: Activity(5.0, wants_to_run=False, io_bytes=next(reads))) is None


def test_it_sees_what_a_process_reads_and_computes() -> None:
    before = activity(os.getpid())
    os.urandom(50_000_000)
    Path(__file__).read_bytes()
    after = activity(os.getpid())
    assert after.io_bytes - before.io_bytes >= Path(__file__).stat().st_size
    assert after.cpu_s > before.cpu_s
