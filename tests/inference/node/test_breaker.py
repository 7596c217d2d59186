"""A model whose engine ends too often is refused for a while, then tried once."""

import pytest

from inference.errors import (
    ModelCrashing,
)
from inference.node.breaker import CRASHES, PAUSE_FIRST_S, WINDOW_S
from tests.inference.node.worlds import World, spec

A = spec("a")


@pytest.fixture
def world() -> World:
    return World()


def crash(world: World, times: int) -> None:
    """Have a model's engine end so often, each time after an answer was begun."""
    for _ in range(times):
        world.tick(1.0)
        ticket = world.request(A)
        world.settle()
        world.serve(ticket)
        world.request(A)
        world.fail(next(iter(world.ready)), None)
        world.settle()


def breaker(world: World) -> str:
    return world.scheduler.models["a"].breaker.state(world.now)


def test_it_refuses_a_model_whose_engine_ends_too_often(world: World) -> None:
    crash(world, CRASHES - 1)
    assert breaker(world) == "closed"
    world.tick(1.0)
    waits = world.request(A)
    world.fail(next(iter(world.loading)), None)
    for ticket in (waits, world.request(A)):
        error = world.ended[ticket]
        assert isinstance(error, ModelCrashing)
        assert error.retry_after_s == PAUSE_FIRST_S
        assert f"ended {CRASHES} times" in error.message
    assert breaker(world) == "open"
    assert not world.loading
    other = world.request(spec("b"))
    world.settle()
    assert other in world.running


def test_after_the_pause_one_request_tries_a_refused_model(world: World) -> None:
    crash(world, CRASHES)
    world.tick(PAUSE_FIRST_S)
    assert breaker(world) == "half_open"
    trial, second = world.request(A), world.request(A)
    assert isinstance(world.ended[second], ModelCrashing)
    world.settle()
    assert trial in world.running
    world.serve(trial)
    assert breaker(world) == "closed"
    assert world.request(A) in world.running


def test_a_trial_that_fails_makes_the_pause_longer_and_one_that_leaves_frees_it(
    world: World,
) -> None:
    crash(world, CRASHES)
    world.tick(PAUSE_FIRST_S)
    world.cancel(world.request(A))
    assert breaker(world) == "half_open"
    world.settle()
    world.request(A)
    world.settle()
    world.fail(next(iter(world.ready)), None)
    world.settle()
    assert world.scheduler.models["a"].breaker.open_until - world.now == 2 * PAUSE_FIRST_S


def test_an_operator_tries_a_refused_model_at_once(world: World) -> None:
    crash(world, CRASHES)
    assert breaker(world) == "open"
    world.tick(1.0)
    world.request(A, runs=False)
    assert breaker(world) == "closed"
    assert world.loading


def test_crashes_long_ago_are_forgotten(world: World) -> None:
    crash(world, CRASHES - 1)
    world.tick(WINDOW_S + 1)
    crash(world, CRASHES - 1)
    assert breaker(world) == "closed"
