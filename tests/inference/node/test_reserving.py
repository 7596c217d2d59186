"""Memory that trainings borrow: who leaves for it, who has to wait, who takes it back."""

import pytest

from inference import wire
from inference.errors import DeadlineExceeded, OutOfMemory
from inference.node.devices import Device
from inference.node.eviction import Limits
from inference.node.foresight import what_if_reserved
from inference.node.leases import places
from tests.inference.node.worlds import World, spec


def loaded(world: World, name: str, size: int = 40) -> None:
    world.serve_all(world.request(spec(name), size))
    world.tick(2.0)


def test_it_grants_what_is_free_at_once() -> None:
    world = World()
    ticket = world.reserve(60)
    assert world.lent[ticket].claim == {"cpu": 60}
    assert world.scheduler.free() == {"cpu": 40}
    assert not world.told


def test_it_unloads_an_idle_model_and_waits_until_its_memory_is_back() -> None:
    world = World()
    loaded(world, "a")
    ticket = world.reserve(80)
    assert ticket in world.reserving
    assert world.told[ticket].reason == "waits until a has left the memory"
    world.settle()
    assert ticket in world.lent


def test_it_never_drains_a_busy_model_for_a_training() -> None:
    world = World()
    request = world.request(spec("a"))
    world.settle()
    ticket = world.reserve(80)
    world.tick(1_000.0)
    assert ticket in world.reserving
    assert "a is busy with 1" in world.told[ticket].reason
    world.serve(request)
    world.settle()
    assert ticket in world.lent


def test_it_asks_a_preemptible_training_back_for_a_request() -> None:
    world = World()
    ticket = world.reserve(80, is_preemptible=True)
    world.tick(2.0)
    request = world.request(spec("a"))
    assert "makes room, wanted by a" in world.recalled[ticket]
    assert not world.loading  # its memory is not back
    again = world.reserve(80, is_preemptible=True)
    world.release(ticket)
    world.settle()
    assert request in world.running
    assert again in world.reserving
    world.serve(request)
    world.tick(20.0)
    world.settle()
    assert again in world.lent


def test_it_lets_a_training_run_for_the_minimum_residency() -> None:
    world = World(Limits({"cpu": 100}, min_residency_s=30.0))
    ticket = world.reserve(80, is_preemptible=True)
    world.request(spec("a"))
    world.tick(29.0)
    assert ticket not in world.recalled
    world.tick(1.5)
    assert ticket in world.recalled


def test_it_unloads_an_idle_model_before_it_stops_a_training() -> None:
    world = World()
    loaded(world, "a")
    ticket = world.reserve(40, is_preemptible=True)
    world.tick(2.0)
    world.request(spec("b", priority=-5))
    assert ticket not in world.recalled
    assert [start.spec.name for start in world.going.values()] == ["a"]


def test_a_request_waits_for_a_training_that_does_not_yield() -> None:
    world = World()
    ticket = world.reserve(80, is_preemptible=False)
    request = world.request(spec("a"), deadline_s=60.0)
    world.tick(59.0)
    assert request in world.waiting
    assert f"training r{ticket} holds" in world.told[request].reason
    assert ticket not in world.recalled
    world.tick(2.0)
    assert isinstance(world.ended[request], DeadlineExceeded)


def test_a_training_takes_no_memory_of_another() -> None:
    world = World()
    first = world.reserve(80, is_preemptible=True)
    second = world.reserve(80, priority=5)
    world.tick(1_000.0)
    assert first not in world.recalled
    assert second in world.reserving


def test_a_training_pauses_for_no_replica() -> None:
    world = World()
    ticket = world.reserve(60, is_preemptible=True)
    requests = [world.request(spec("a", replicas=2, max_concurrency=1)) for _ in range(3)]
    world.settle()
    world.tick(60.0)
    assert requests[0] in world.running
    assert ticket not in world.recalled


def test_what_a_training_does_not_need_is_free_for_others() -> None:
    world = World()
    ticket = world.reserve(80)
    request = world.request(spec("a"))
    world.resize(ticket, 50)
    world.settle()
    assert request in world.running
    assert world.scheduler.leases[ticket].claim == {"cpu": 50}


def test_idle_models_leave_when_a_training_takes_more_than_it_said() -> None:
    world = World()
    ticket = world.reserve(50)
    loaded(world, "a")
    world.resize(ticket, 70)
    world.tick(1.0)
    assert [start.spec.name for start in world.going.values()] == ["a"]


def test_it_refuses_what_can_never_fit_and_what_waited_too_long() -> None:
    world = World()
    much = world.reserve(120)
    assert isinstance(world.declined[much], OutOfMemory)
    world.reserve(80)
    late = world.reserve(80, deadline_s=5.0)
    world.tick(6.0)
    assert isinstance(world.declined[late], DeadlineExceeded)


def test_a_long_wait_overtakes_a_higher_priority() -> None:
    world = World()
    first = world.reserve(100)
    old = world.reserve(100)
    world.tick(25.0)
    world.reserve(100, priority=1)
    world.release(first)
    assert old in world.lent


def test_it_says_what_a_reservation_would_unload() -> None:
    world = World()
    loaded(world, "a")
    devices = [Device("cpu", "CPU", 100, 100, 100)]
    wish = wire.Reserve(id="x", label="job", claim_bytes=80)
    planned = what_if_reserved(world.scheduler, wish, places(wish, devices), world.now)
    assert planned.verdict == "fits_after_unloading"
    assert [victim.name for victim in planned.victims] == ["a"]
    assert (planned.needed_bytes, planned.free_bytes) == (80, 60)
    assert not world.scheduler.leases


@pytest.mark.parametrize("seconds", [0.0, 3.0])
def test_nothing_is_kept_of_a_client_that_leaves(seconds: float) -> None:
    world = World()
    loaded(world, "a")
    ticket = world.reserve(80)
    world.tick(seconds)
    world.release(ticket)
    world.settle()
    assert world.scheduler.free() == {"cpu": 100}
    assert not world.scheduler.leases
