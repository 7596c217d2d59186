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


def waits_of(world: World, name: str) -> list[str]:
    return [r.reason for r in world.records if r.action == "wait" and r.model == name]


def test_the_history_holds_a_wait_once_whatever_is_served_meanwhile(world: World) -> None:
    several = spec("a", max_concurrency=8)
    busy = [world.request(several, 80) for _ in range(8)]
    waiting = world.request(spec("b"), 80)
    for ticket in busy[1:]:
        world.serve(ticket)
        world.tick()
    assert "a is busy with 1" in world.told[waiting].reason  # who waits is told all the same
    assert len(waits_of(world, "b")) == 1


def test_the_history_holds_the_next_wait_of_a_model_too(world: World) -> None:
    for _ in range(2):
        busy = world.request(spec("a"), 80)
        waiting = world.request(spec("b"), 80)
        world.serve(busy)
        world.settle()
        world.tick(60.0)
        world.serve_all(waiting)
        world.tick(60.0)
        world.serve_all(world.request(spec("a"), 80))
        world.tick(60.0)
    assert len(waits_of(world, "b")) == 2


def test_the_history_holds_the_wait_of_a_training_once(world: World) -> None:
    several = spec("a", max_concurrency=8)
    busy = [world.request(several, 80) for _ in range(3)]
    world.reserve(80)
    name = next(iter(world.scheduler.leases.values())).name
    for ticket in busy[1:]:
        world.serve(ticket)
        world.tick()
    assert len(waits_of(world, name)) == 1
