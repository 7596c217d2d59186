"""Models that may never, and others that must always, be in memory together."""

import pytest

from inference.errors import OutOfMemory
from inference.node.company import Company
from inference.node.eviction import Limits
from tests.inference.node.worlds import World, spec

APART = Company(apart=(frozenset({"a", "b"}),))
TOGETHER = Company(together=(frozenset({"a", "b"}),))


def world_of(company: Company, limit: int = 100, **policy: object) -> World:
    world = World(Limits({"cpu": limit}, min_residency_s=0.0))
    world.scheduler.policy.company = company
    for name, value in policy.items():
        setattr(world.scheduler.policy, name, value)
    return world


def load(world: World, *names: str) -> None:
    for name in names:
        world.serve_all(world.request(spec(name), 30))


def there(world: World) -> list[str]:
    return sorted(start.spec.name for start in world.ready.values())


def test_one_leaves_before_the_other_comes_though_both_would_fit() -> None:
    world = world_of(APART)
    load(world, "a", "b")
    assert there(world) == ["b"]
    reasons = [record.reason for record in world.records if record.action == "unload"]
    assert reasons == ["makes room, wanted by b (1 waiting)"]


def test_it_waits_while_the_other_is_busy() -> None:
    world = world_of(APART)
    first = world.request(spec("a"), 30)
    world.settle()
    second = world.request(spec("b"), 30)
    assert "may not be in memory together with a, which is busy" in world.told[second].reason
    world.serve(first)
    world.settle()
    world.tick()
    assert world.ended == {first: None}
    assert second in world.running


def test_a_pinned_one_refuses_the_other_at_once() -> None:
    world = world_of(APART)
    world.serve_all(world.request(spec("a", pinned=True), 30))
    error = world.ended[world.request(spec("b"), 30)]
    assert isinstance(error, OutOfMemory)
    assert "together with a, which is pinned" in error.message


def test_a_request_for_one_brings_both() -> None:
    world = world_of(TOGETHER)
    world.meet(spec("b"), 30)
    load(world, "a")
    assert there(world) == ["a", "b"]
    assert [r.detail for r in world.records if r.model == "b"] == ["always together with a"]


def test_room_for_a_third_unloads_both_or_none() -> None:
    world = world_of(TOGETHER)
    load(world, "a", "b")
    load(world, "c")  # fits beside them
    assert there(world) == ["a", "b", "c"]
    load(world, "d")  # the pair costs as much for each byte, and was used longer ago
    assert there(world) == ["c", "d"]


@pytest.mark.parametrize("how", ["operator", "idle"])
def test_they_leave_together(how: str) -> None:
    world = world_of(TOGETHER, auto_unload_s=60.0)
    load(world, "a", "b")
    if how == "operator":
        world.unload("a")
    else:
        world.tick(61.0)
    world.settle()
    world.tick(1.0)
    assert there(world) == []
    assert not world.loading


def test_one_that_still_works_keeps_the_other() -> None:
    world = world_of(TOGETHER, auto_unload_s=60.0)
    load(world, "a", "b")
    world.request(spec("b"), 30)
    world.tick(1_000.0)
    assert there(world) == ["a", "b"]


def test_company_that_cannot_be_there_at_once_is_refused_at_once() -> None:
    """The one that is there may not leave for the other: no wait would help."""
    world = world_of(TOGETHER)
    load(world, "a")
    error = world.ended[world.request(spec("b"), 80)]
    assert isinstance(error, OutOfMemory)
    assert "these belong with it, or are pinned, and would have to go: a" in error.message
    world = world_of(TOGETHER)
    load(world, "a")
    world.scheduler.policy.limits = Limits({"cpu": 100}, max_models=1)
    error = world.ended[world.request(spec("b"), 10)]
    assert isinstance(error, OutOfMemory)
    assert "all 1 model places are taken, also by its company: a" in error.message
