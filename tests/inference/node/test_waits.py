"""What those who wait are told of the time left, under a clock that only the test moves."""

import pytest

from tests.inference.node.worlds import World, spec


@pytest.fixture
def world() -> World:
    """Of two models that need the whole memory, `a` is there and `b` has loaded in 4 s before."""
    world = World()
    for name in ("b", "a"):
        ticket = world.request(spec(name), 80)
        for gone in [*world.going]:
            world.gone(gone)
        world.now += 4.0
        world.settle()
        world.serve(ticket)
        world.tick(6.0)
    return world


def test_it_tells_how_long_the_load_takes_while_the_memory_returns(world: World) -> None:
    waiting = world.request(spec("b"), 80)
    assert [start.spec.name for start in world.going.values()] == ["a"]
    told = world.told[waiting]
    assert (told.state, told.reason, told.eta_s) == (
        "queued",
        "waits until a has left the memory",
        4.0,
    )


def test_it_tells_no_time_while_a_busy_victim_finishes(world: World) -> None:
    busy = world.request(spec("a"), 80)
    waiting = world.request(spec("b"), 80)
    assert world.told[waiting].eta_s is None
    world.tick(world.limits.patience_s + 1)
    assert world.told[waiting].reason == "waits until a has left the memory"
    assert world.told[waiting].eta_s is None
    world.serve(busy)
    world.tick()
    assert world.told[waiting].eta_s == 4.0


def test_it_tells_no_time_while_a_training_gives_its_memory_back(world: World) -> None:
    world.unload("a")
    world.settle()
    training = world.reserve(80, is_preemptible=True)
    world.tick(6.0)
    waiting = world.request(spec("b"), 80)
    assert training in world.recalled
    assert world.told[waiting].eta_s is None
