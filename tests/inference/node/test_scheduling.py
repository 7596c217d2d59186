"""What the scheduler decides, case by case, under a clock that only the test moves."""

import pytest

from inference.errors import (
    Conflict,
    DeadlineExceeded,
    LoadFailed,
    OutOfMemory,
    QueueFull,
)
from inference.node.eviction import Limits
from tests.inference.node.worlds import World, spec

A, B = spec("a"), spec("b")


@pytest.fixture
def world() -> World:
    return World()


def loaded(world: World, *names: str, size: int = 40) -> None:
    """Have models resident and idle, past their minimum residency."""
    for name in names:
        ticket = world.request(spec(name), size)
        world.settle()
        world.serve(ticket)
    world.now += 6.0


def resident(world: World) -> list[str]:
    return sorted(start.spec.name for start in world.ready.values())


def test_it_loads_on_demand_and_grants_when_ready(world: World) -> None:
    ticket = world.request(A)
    assert world.told[ticket].state == "loading"
    world.settle()
    assert ticket in world.running


def test_it_loads_once_for_all_who_wait(world: World) -> None:
    tickets = [world.request(A) for _ in range(5)]
    assert len(world.loading) == 1
    world.settle()
    assert sorted(world.running) == tickets


def test_it_says_who_asked_for_a_load(world: World) -> None:
    world.request(spec("a", priority=2))
    world.request(spec("a", priority=2))
    world.request(B, runs=False)
    world.settle()
    assert [(r.action, r.model, r.detail) for r in world.records] == [
        ("load", "a", "asked for by a request, priority 2"),
        ("load", "b", "asked for by an operator"),
    ]


def test_it_lets_no_load_hold_back_a_resident(world: World) -> None:
    loaded(world, "a")
    world.request(B)
    assert world.request(A) in world.running
    assert world.loading


def test_it_makes_room_by_the_idle_and_starts_when_the_memory_is_back(world: World) -> None:
    loaded(world, "a", "b")
    world.request(spec("c"))
    assert not world.loading
    assert [start.spec.name for start in world.going.values()] == ["a"]
    world.gone(*world.going)
    assert [start.spec.name for start in world.loading.values()] == ["c"]


def test_it_waits_for_a_busy_victim_then_drains_it(world: World) -> None:
    loaded(world, "a", size=80)
    busy = world.request(A, 80)
    waiting = world.request(B, 80)
    assert "a is busy with 1" in world.told[waiting].reason
    world.tick(world.limits.patience_s + 1)
    assert not world.going
    late = world.request(A, 80)
    assert late in world.waiting
    world.serve(busy)
    world.settle()
    assert waiting in world.running


def test_it_never_brings_back_a_draining_model(world: World) -> None:
    loaded(world, "a")
    running = world.request(A)
    world.unload("a")
    again = world.request(A)
    assert again in world.waiting
    world.serve(running)
    assert len(world.going) == 1
    world.settle()
    assert again in world.running


def test_it_unloads_the_idle_after_their_time() -> None:
    world = World(auto_unload_s=10.0)
    loaded(world, "a")
    world.tick(3.0)
    assert resident(world) == ["a"]
    world.tick(2.0)
    assert resident(world) == []


def test_it_obeys_a_models_own_idle_time() -> None:
    world = World(auto_unload_s=10.0)
    for model in (spec("short", idle_unload_s=1.0), spec("never", idle_unload_s=0.0)):
        ticket = world.request(model)
        world.settle()
        world.serve(ticket)
    world.tick(5.0)
    world.tick(500.0)
    assert resident(world) == ["never"]


def test_it_keeps_pinned_models(world: World) -> None:
    ticket = world.request(spec("rock", pinned=True), 60)
    world.settle()
    world.serve(ticket)
    world.tick(10_000.0)
    refused = world.request(B, 60)
    assert isinstance(world.ended[refused], OutOfMemory)
    assert resident(world) == ["rock"]


def test_a_pin_holds_at_once_and_its_end_lets_others_go_on(world: World) -> None:
    loaded(world, "rock", size=60)
    world.revise(spec("rock", pinned=True))
    assert isinstance(world.ended[world.request(B, 60)], OutOfMemory)
    world.tick(10_000.0)
    assert resident(world) == ["rock"]
    world.revise(spec("rock", version="2"))  # what takes a load changes nothing yet
    assert isinstance(world.ended[world.request(B, 60)], OutOfMemory)
    world.revise(spec("rock"))
    world.request(B, 60)
    world.settle()
    assert resident(world) == ["b"]


def test_a_raised_priority_saves_a_model_at_once(world: World) -> None:
    loaded(world, "a", "b")
    world.revise(spec("a", priority=5))
    world.request(spec("c"))
    world.settle()
    assert resident(world) == ["a", "c"]


def test_it_keeps_to_the_number_of_models() -> None:
    world = World(Limits({"cpu": 100}, max_models=1))
    loaded(world, "a", size=10)
    world.request(B, 10)
    world.settle()
    assert resident(world) == ["b"]


def test_it_evicts_favoured_models_last() -> None:
    world = World()
    world.scheduler.policy.favoured = ("a",)
    loaded(world, "a", "b")
    world.request(spec("c"))
    assert [start.spec.name for start in world.going.values()] == ["b"]


def test_it_refuses_what_never_fits(world: World) -> None:
    ticket = world.request(A, 101)
    error = world.ended[ticket]
    assert isinstance(error, OutOfMemory)
    assert "the limit is" in error.message


def test_it_cancels_a_load_that_nobody_waits_for(world: World) -> None:
    ticket = world.request(A)
    world.cancel(ticket)
    assert not world.loading
    assert len(world.going) == 1


def test_it_keeps_a_load_while_another_waits(world: World) -> None:
    first, _second = world.request(A), world.request(A)
    world.cancel(first)
    assert world.loading


def test_it_sheds_when_the_queue_is_full(world: World) -> None:
    small = spec("a", max_concurrency=1, max_queue=2)
    tickets = [world.request(small) for _ in range(3)]
    error = world.ended[tickets[2]]
    assert isinstance(error, QueueFull)
    assert error.retry_after_s


def test_it_takes_who_came_first(world: World) -> None:
    one = spec("a", max_concurrency=1)
    running = world.request(one)
    world.settle()
    asked = [world.request(one)]
    world.now += 25.0
    asked += [world.request(one), world.request(one)]
    order = []
    for ticket in (running, None, None):
        world.serve(ticket or next(iter(world.running)))
        order += [*world.running]
    assert order == asked


def test_it_refuses_after_the_deadline_with_the_reason(world: World) -> None:
    ticket = world.request(A, deadline_s=5.0)
    world.tick(21.0)
    error = world.ended[ticket]
    assert isinstance(error, DeadlineExceeded)
    assert "is loading" in error.message
    assert error.retry_after_s


def test_it_refuses_at_once_when_the_load_will_take_too_long(world: World) -> None:
    ticket = world.request(A)
    world.now += 30.0
    world.settle()
    world.serve(ticket)
    world.unload("a")
    world.settle()
    late = world.request(A, deadline_s=10.0)
    assert isinstance(world.ended[late], DeadlineExceeded)
    assert not world.loading


def test_it_tells_those_who_wait_why_a_load_failed_and_backs_off(world: World) -> None:
    first = world.request(A)
    world.fail(next(iter(world.loading)), LoadFailed("no such file"))
    world.settle()
    second = world.request(A)
    for ticket in (first, second):
        error = world.ended[ticket]
        assert isinstance(error, LoadFailed)
        assert error.message == "no such file"
        assert error.retry_after_s
    world.tick(0.3)
    third = world.request(A)
    world.settle()
    assert third in world.running


def test_it_reloads_a_crashed_engine_for_those_who_wait(world: World) -> None:
    one = spec("a", max_concurrency=1)
    running, waiting = world.request(one), world.request(one)
    world.settle()
    assert running in world.running
    world.fail(next(iter(world.ready)), None)
    world.settle()
    assert waiting in world.waiting
    assert not world.loading
    world.tick(0.3)
    world.settle()
    assert waiting in world.running


def test_it_waits_longer_after_each_crash(world: World) -> None:
    world.request(A)
    pauses = []
    for _ in range(2):
        world.fail(next(iter(world.loading)), None)
        world.settle()
        pauses.append(world.scheduler.models["a"].retry_at - world.now)
        world.tick(pauses[-1])
    assert pauses == [0.25, 0.5]


def test_it_gives_up_on_an_engine_that_dies_at_every_load(world: World) -> None:
    ticket = world.request(A)
    for _ in range(3):
        world.fail(next(iter(world.loading)), None)
        world.settle()
        world.tick(1.0)
    error = world.ended[ticket]
    assert isinstance(error, LoadFailed)
    assert "3 times" in error.message


def test_it_gives_up_a_load_without_progress_but_not_one_with(world: World) -> None:
    world.request(A, deadline_s=1e6)
    instance = next(iter(world.loading))
    world.now += 100.0
    world.scheduler.on_progress(instance, 10, 100, world.now)
    world.tick(100.0)
    assert world.loading
    world.tick(100.0)
    assert not world.loading
    assert isinstance(world.ended[1], LoadFailed)


def test_it_replaces_a_model_by_its_new_version(world: World) -> None:
    loaded(world, "a")
    running = world.request(A)
    new = world.request(spec("a", version="2"))
    assert running in world.running
    world.settle()
    assert [start.spec.version for start in world.ready.values()] == ["", "2"]
    assert new in world.running
    world.serve(running)
    world.settle()
    assert [start.spec.version for start in world.ready.values()] == ["2"]


def test_it_serves_a_just_replaced_version_by_the_new_one(world: World) -> None:
    loaded(world, "a")
    world.request(spec("a", version="2"))
    world.settle()
    stale = world.request(A)
    assert world.ready[world.running[stale]].spec.version == "2"


def test_it_goes_back_to_an_older_version_when_asked_later(world: World) -> None:
    loaded(world, "a")
    world.request(spec("a", version="2"))
    world.settle()
    world.now += 10.0
    back = world.request(A)
    world.settle()
    assert world.ready[world.running[back]].spec.version == ""


def test_a_client_that_left_unseen_frees_its_place(world: World) -> None:
    one = spec("a", max_concurrency=1)
    gone, waiting = world.request(one), world.request(one)
    world.left.add(gone)
    world.settle()
    assert [*world.running] == [waiting]


def test_it_tells_position_and_reason(world: World) -> None:
    one = spec("a", max_concurrency=1)
    world.request(one)
    world.settle()
    second, third = world.request(one), world.request(one)
    assert [world.told[t].position for t in (second, third)] == [1, 2]
    assert "busy with 1" in world.told[third].reason
    world.cancel(second)
    world.tick(0.25)
    assert world.told[third].position == 1


def test_it_unloads_for_an_operator_and_says_so(world: World) -> None:
    loaded(world, "a")
    world.unload("a")
    assert world.records[-1].action == "unload"
    assert "operator" in world.records[-1].reason
    with pytest.raises(Conflict):
        world.unload("a")


def test_it_ends_running_requests_only_by_force(world: World) -> None:
    loaded(world, "a")
    ticket = world.request(A)
    world.unload("a", force=True)
    assert ticket in world.ended
    assert world.going


def test_a_load_without_a_request_is_announced(world: World) -> None:
    ticket = world.request(A, runs=False)
    world.settle()
    assert world.ended[ticket] is None
    assert not world.running


def test_it_takes_the_memory_of_an_engine_that_grew_as_it_is(world: World) -> None:
    loaded(world, "a", "b")
    for instance in world.ready:
        world.scheduler.on_measured(instance, {"cpu": 55})
    world.tick()
    assert len(world.ready) == 1
    assert "grew past" in world.records[-1].reason


def test_memory_held_by_others_is_waited_for(world: World) -> None:
    world.scheduler.held_elsewhere["cpu"] = 80
    ticket = world.request(A)
    assert "other programs" in world.told[ticket].reason
    world.scheduler.held_elsewhere["cpu"] = 0
    world.tick()
    assert world.loading


def test_a_standby_process_is_free_for_the_engine_that_takes_it_over(world: World) -> None:
    world.scheduler.held_elsewhere["cpu"] = 30
    world.scheduler.inherited["fake"] = 30
    other = world.request(spec("other", engine="llm_gguf"), 80)
    assert "waits for memory" in world.told[other].reason
    world.request(A, 80)
    assert [start.spec.name for start in world.loading.values()] == ["a"]
