"""A pinned engine grows while others' memory is on its way back: what was decided is planned again."""

import pytest

from inference.errors import OutOfMemory
from tests.inference.node.worlds import World, spec

ROCK = spec("rock", pinned=True)
WHY = "the models together grew past the memory limit"


@pytest.fixture
def world() -> World:
    """A model is leaving; of what stays, a pinned one has 20 of 100."""
    world = World()
    for model, size in ((spec("a"), 40), (ROCK, 20)):
        world.serve_all(world.request(model, size))
    world.remove("a")
    return world


def grow(world: World, claim: int) -> None:
    (instance,) = (number for number, start in world.ready.items() if start.spec == ROCK)
    world.scheduler.on_measured(instance, {"cpu": claim})
    world.tick(6.0)
    world.settle()


def test_a_load_that_can_never_begin_is_refused(world: World) -> None:
    ticket = world.request(spec("c"), 70)
    grow(world, 31)
    assert isinstance(world.ended[ticket], OutOfMemory)
    assert next(r.reason for r in world.records if r.model == "c") == f"planned anew: {WHY}"


def test_a_reservation_that_can_never_be_lent_is_declined(world: World) -> None:
    ticket = world.reserve(70)
    grow(world, 31)
    assert isinstance(world.declined[ticket], OutOfMemory)


def test_a_load_that_still_fits_begins(world: World) -> None:
    ticket = world.request(spec("c"), 70)
    grow(world, 30)
    world.serve(ticket)
    assert world.ended[ticket] is None
