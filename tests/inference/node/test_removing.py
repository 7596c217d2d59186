"""A model that leaves the catalog: who waits is told, who is answered is answered, and nobody knows it after."""

from inference.errors import ModelNotFound
from inference.node.company import Company
from inference.node.eviction import Limits
from tests.inference.node.worlds import World, spec

A, B = spec("a"), spec("b")
TOGETHER = Company(together=(frozenset({"a", "b"}),))


def names(world: World) -> list[str]:
    return sorted(world.scheduler.models)


def test_it_answers_who_is_being_answered_and_is_then_unknown() -> None:
    world = World()
    ticket = world.request(A)
    world.settle()
    world.remove("a")
    assert ticket in world.running
    assert world.records[-1].reason == "it was removed"
    world.serve(ticket)
    world.settle()
    assert world.ended == {ticket: None}
    assert (names(world), world.scheduler.instances) == ([], {})


def test_it_tells_who_waits_while_it_loads() -> None:
    world = World()
    ticket = world.request(A)
    world.remove("a")
    error = world.ended[ticket]
    assert isinstance(error, ModelNotFound)
    assert error.message == "`a` was removed while this request waited"
    world.settle()
    assert names(world) == []


def test_it_tells_who_waits_behind_a_busy_one() -> None:
    world = World()
    one = spec("a", max_concurrency=1)
    first = world.request(one)
    world.settle()
    second = world.request(one)
    world.remove("a")
    assert isinstance(world.ended[second], ModelNotFound)
    assert first in world.running


def test_it_tells_who_waits_for_room() -> None:
    world = World()
    busy = world.request(A, 80)
    world.settle()
    waiting = world.request(B, 80)
    world.remove("b")
    assert isinstance(world.ended[waiting], ModelNotFound)
    assert (names(world), [*world.running]) == (["a"], [busy])


def test_its_company_does_not_bring_it_back() -> None:
    world = World(Limits({"cpu": 100}, min_residency_s=0.0))
    world.scheduler.policy.company = TOGETHER
    for name in ("a", "b"):
        world.serve_all(world.request(spec(name), 30))
    world.remove("a")
    world.settle()
    world.tick()
    assert [start.spec.name for start in world.ready.values()] == ["b"]
    assert (names(world), world.loading) == (["b"], {})


def test_one_that_is_added_again_while_the_last_one_ends_is_loaded_anew() -> None:
    world = World()
    ticket = world.request(A)
    world.settle()
    world.remove("a")
    again = world.request(spec("a", version="2"), 10)
    world.serve(ticket)
    world.settle()
    assert [*world.running] == [again]
    assert names(world) == ["a"]
