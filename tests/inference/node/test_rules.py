"""Rules of the operator that change while models are in memory."""

from dataclasses import replace

from inference.errors import OutOfMemory
from inference.node.company import Company
from inference.node.eviction import Limits
from inference.node.residents import Policy
from tests.inference.node.worlds import World, spec

LIMITS = Limits({"cpu": 100}, min_residency_s=0.0)
APART = Company(apart=(frozenset({"a", "b"}),))


def world_of(*names: str) -> World:
    world = World(LIMITS)
    for name in names:
        world.serve_all(world.request(spec(name), 30))
        world.tick(1.0)
    return world


def there(world: World) -> list[str]:
    return sorted(start.spec.name for start in world.ready.values())


def why(world: World) -> list[tuple[str, str]]:
    return [(r.model, r.reason) for r in world.records if r.action == "unload"]


def test_of_two_that_may_not_be_together_any_more_the_one_used_longer_ago_leaves() -> None:
    world = world_of("a", "b", "c")
    world.set_rules(Policy(LIMITS, company=APART))
    assert there(world) == ["b", "c"]
    assert why(world) == [("a", "it may not be in memory together with another now")]


def test_a_busy_one_leaves_once_it_is_idle() -> None:
    world = world_of("a", "b")
    running = [world.request(spec(name), 30) for name in ("a", "b")]
    world.set_rules(Policy(LIMITS, company=APART))
    assert there(world) == ["a", "b"]
    world.serve(running[1])
    world.tick()
    assert there(world) == ["a"]


def test_where_fewer_may_be_there_the_favoured_one_stays() -> None:
    world = world_of("a", "b", "c")
    world.set_rules(Policy(replace(LIMITS, max_models=1), favoured=("a",)))
    world.tick()
    world.tick()
    assert there(world) == ["a"]
    assert {reason for _, reason in why(world)} == {"fewer models may be in memory at once now"}


def test_of_two_favoured_ones_the_first_stays() -> None:
    world = world_of("a", "b", "c")
    world.set_rules(Policy(LIMITS, favoured=("b", "a")))
    world.request(spec("d"), 90)
    assert [start.spec.name for start in world.going.values()] == ["c", "a", "b"]
    world = world_of("a", "b")
    world.set_rules(Policy(LIMITS, favoured=("b", "a")))
    world.request(spec("d"), 60)
    assert [start.spec.name for start in world.going.values()] == ["a"]


def test_what_only_was_decided_is_planned_anew() -> None:
    """It waits for memory that is on its way back; now it may not come at all."""
    world = World(LIMITS)
    world.serve_all(world.request(spec("a", pinned=True), 30))
    world.serve_all(world.request(spec("c"), 60))
    ticket = world.request(spec("b"), 60)
    assert world.going
    world.set_rules(Policy(LIMITS, company=APART))
    error = world.ended[ticket]
    assert isinstance(error, OutOfMemory)
    assert "together with a, which is pinned" in error.message


def test_who_waited_for_a_place_gets_it_at_once() -> None:
    world = World(replace(LIMITS, max_models=1))
    world.request(spec("a"), 30)
    world.settle()
    ticket = world.request(spec("b"), 30)
    assert ticket in world.waiting
    world.set_rules(Policy(LIMITS))
    world.settle()
    assert ticket in world.running
