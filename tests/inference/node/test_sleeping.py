"""Engines that sleep instead of ending: their GPU is free, main memory holds them, nobody waits for it."""

import pytest

from inference.errors import EngineFailed
from inference.node.company import Company
from inference.node.effects import Effect
from inference.node.eviction import Limits
from inference.node.placement import Placement
from inference.node.residents import WAKE_GRACE_S
from tests.inference.node.worlds import World, spec

GPU, HOST, BACKUP, CONTEXT = 70, 5, 40, 10
COLD = {"gpu": GPU, "cpu": HOST}
ASLEEP = {"gpu": CONTEXT, "cpu": HOST + BACKUP}
A, B = spec("a"), spec("b")


class GpuWorld(World):
    """Models on one GPU with room for one of them."""

    takes_host = False  # what comes from now on takes main memory only

    def places(self, size: int) -> list[Placement]:
        if self.takes_host:
            return [Placement("cpu", {"cpu": size})]
        asleep = {"gpu": CONTEXT, "cpu": BACKUP}
        return [Placement("gpu", {"gpu": size, "cpu": HOST}, asleep=asleep)]


def make(cpu: int = 100, gpu: int = 100, **limits: int) -> GpuWorld:
    return GpuWorld(Limits({"cpu": cpu, "gpu": gpu}, **limits), auto_unload_s=60.0)


@pytest.fixture
def world() -> GpuWorld:
    return make()


def serve(world: World, name: str, size: int = GPU, **values: object) -> None:
    """Ask once, be answered, and let the minimum residency pass."""
    ticket = world.request(spec(name, **values), size)
    world.tick(20.0)  # thrift has an end
    world.settle()
    world.serve(ticket)
    world.settle()
    world.now += 6.0


def asleep(world: World) -> list[str]:
    return [start.spec.name for start in world.asleep.values()]


def claim(world: World, name: str) -> dict[str, int]:
    (found,) = [i for i in world.scheduler.instances.values() if i.name == name]
    return dict(found.claim)


def test_who_makes_room_sleeps_and_its_gpu_is_free_for_the_other(world: GpuWorld) -> None:
    serve(world, "a")
    serve(world, "b", 90)
    assert asleep(world) == ["a"]
    assert claim(world, "a") == ASLEEP
    assert [s.spec.name for s in world.ready.values()] == ["b"]


def test_the_next_load_takes_its_process_over(world: GpuWorld) -> None:
    serve(world, "a")
    serve(world, "b")
    (slept,) = world.asleep
    serve(world, "a")
    (woken,) = [s for s in world.ready.values() if s.spec.name == "a"]
    assert woken.placement.wakes == slept
    assert claim(world, "a") == {"gpu": GPU, "cpu": HOST + BACKUP}, "its pages stay its own"
    assert any(r.reason.startswith("woken after") for r in world.records)


def test_both_sleep_in_turn_where_main_memory_is_enough(world: GpuWorld) -> None:
    for name in ("a", "b", "a", "b", "a"):
        serve(world, name)
    starts = [r for r in world.records if r.action == "load"]
    assert [r.reason.split()[0] for r in starts] == ["ready", "ready", "woken", "woken", "woken"]


def test_an_idle_one_sleeps(world: GpuWorld) -> None:
    serve(world, "a")
    world.tick(61.0)
    world.settle()
    assert asleep(world) == ["a"]
    assert world.scheduler.models["a"].state(world.now, drains=False) == "asleep"


def test_it_ends_where_main_memory_has_no_room_for_its_weights() -> None:
    world = make(cpu=HOST + BACKUP - 1)
    serve(world, "a")
    serve(world, "b")
    assert not world.asleep


def test_it_ends_where_it_would_be_in_the_way_of_who_comes(world: GpuWorld) -> None:
    """What stays on its GPU is too much beside the other."""
    serve(world, "a")
    serve(world, "b", 95)
    assert not world.asleep


def test_it_goes_for_good_when_a_model_wants_its_memory(world: GpuWorld) -> None:
    serve(world, "a")
    world.tick(61.0)
    world.settle()
    world.takes_host = True
    ticket = world.request(spec("host"), 60)
    assert not world.asleep
    assert not world.loading, "its memory is not back yet"
    world.settle()
    assert ticket in world.running


def test_it_goes_for_good_when_a_training_wants_its_memory(world: GpuWorld) -> None:
    serve(world, "a")
    world.tick(61.0)
    world.settle()
    world.takes_host = True
    ticket = world.reserve(60)
    assert ticket in world.reserving
    world.settle()
    assert ticket in world.lent
    assert not world.asleep


def test_it_goes_for_good_when_other_programs_want_its_memory(world: GpuWorld) -> None:
    serve(world, "a")
    world.tick(61.0)
    world.settle()
    world.scheduler.held_elsewhere["cpu"] = 60
    world.tick(1.0)
    assert not world.asleep


def test_who_falls_asleep_is_asked_for_again_and_woken(world: GpuWorld) -> None:
    serve(world, "a")
    world.tick(61.0)
    (dozing,) = world.dozing
    ticket = world.request(A, GPU)
    assert not world.loading, "its GPU is not free yet"
    world.fall_asleep(dozing)
    (start,) = world.loading.values()
    assert start.placement.wakes == dozing
    world.settle()
    assert ticket in world.running


def test_a_wake_that_fails_is_a_load_for_those_who_wait(world: GpuWorld) -> None:
    serve(world, "a")
    serve(world, "b")
    ticket = world.request(A, GPU)
    world.tick(20.0)
    for instance in [*world.dozing]:
        world.fall_asleep(instance)
    (waking,) = world.loading
    world.fail(waking, EngineFailed("it answers otherwise than before its sleep"))
    assert ticket in world.waiting
    world.settle()
    assert ticket in world.running
    assert not world.ready[world.running[ticket]].placement.wakes
    assert world.scheduler.models["a"].failures == 0
    world.serve(ticket)
    world.tick(61.0)
    world.settle()
    assert "a" not in asleep(world), "it is not tried again"


@pytest.mark.parametrize("error", [None, EngineFailed("it cannot")])
def test_one_that_cannot_fall_asleep_has_left(world: GpuWorld, error: EngineFailed | None) -> None:
    serve(world, "a")
    world.tick(61.0)
    (dozing,) = world.dozing
    world.fail(dozing, error)
    serve(world, "a")
    assert [s.placement.wakes for s in world.ready.values()] == [0]


def test_one_that_does_not_fall_asleep_in_time_is_ended(world: GpuWorld) -> None:
    serve(world, "a")
    world.tick(61.0)
    ticket = world.request(B, GPU)
    (dozing,) = world.dozing
    world.tick(WAKE_GRACE_S + 1)
    assert dozing in world.going
    world.settle()
    assert ticket in world.running


def test_one_that_dies_in_its_sleep_harms_nobody(world: GpuWorld) -> None:
    serve(world, "a")
    serve(world, "b")
    (slept,) = world.asleep
    world.fail(slept, None)
    model = world.scheduler.models["a"]
    assert (model.failures, model.state(world.now, drains=False)) == (0, "cold")
    serve(world, "a")
    assert [s.spec.name for s in world.ready.values()] == ["a"]


def test_one_that_dies_when_it_is_about_to_be_woken_is_loaded_anew(world: GpuWorld) -> None:
    serve(world, "a")
    serve(world, "b")
    (slept,) = world.asleep
    ticket = world.request(A, GPU)
    world.tick(20.0)
    assert not world.loading, "b is still falling asleep"
    world.fail(slept, None)
    world.settle()
    assert ticket in world.running
    start = world.ready[world.running[ticket]]
    assert (start.placement.wakes, dict(start.placement.claim)) == (0, COLD)


def test_nobody_waits_any_more_and_it_sleeps_on(world: GpuWorld) -> None:
    serve(world, "a")
    serve(world, "b")
    ticket = world.request(A, GPU)
    world.tick(20.0)
    world.cancel(ticket)
    world.settle()
    assert sorted(asleep(world)) == ["a", "b"]


def test_a_wake_under_way_that_nobody_waits_for_any_more_is_not_thrown_away(
    world: GpuWorld,
) -> None:
    serve(world, "a")
    world.tick(61.0)
    world.settle()
    ticket = world.request(A, GPU)
    (waking,) = world.loading
    world.cancel(ticket)
    assert waking in world.loading
    world.settle()
    assert waking in world.ready


def test_a_wake_without_progress_is_given_up_for_a_load(world: GpuWorld) -> None:
    serve(world, "a")
    world.tick(61.0)
    world.settle()
    ticket = world.request(A, GPU)
    (waking,) = world.loading
    world.tick(WAKE_GRACE_S + 1)
    assert waking in world.going
    world.settle()
    assert ticket in world.running


def test_an_operator_ends_its_sleep(world: GpuWorld) -> None:
    serve(world, "a")
    world.tick(61.0)
    world.settle()
    world.unload("a")
    world.settle()
    assert not world.asleep
    assert not world.scheduler.instances


def test_an_unload_by_an_operator_is_no_sleep(world: GpuWorld) -> None:
    serve(world, "a")
    world.unload("a")
    world.settle()
    assert not world.asleep


def test_another_version_and_a_removal_end_its_sleep(world: GpuWorld) -> None:
    for change in (lambda: world.request(spec("a", version="2"), GPU), lambda: world.remove("a")):
        serve(world, "a", version="1")
        world.tick(61.0)
        world.settle()
        assert asleep(world) == ["a"]
        world.now += 6.0
        change()
        world.settle()
        assert not world.asleep
        world.remove("a")
        for ticket in [*world.running]:
            world.serve(ticket)
        world.settle()


def test_a_sleeping_one_takes_no_model_place() -> None:
    world = make(gpu=200, max_models=1)
    serve(world, "a")
    serve(world, "b")
    assert asleep(world) == ["a"]


def test_who_may_not_be_there_with_another_does_not_sleep(world: GpuWorld) -> None:
    world.scheduler.policy.company = Company(apart=(frozenset("ab"),))
    serve(world, "a")
    serve(world, "b")
    assert not world.asleep


def test_a_guess_takes_no_sleeping_ones_memory(world: GpuWorld) -> None:
    """Its claim would fit only where the sleeper ends."""
    serve(world, "a")
    world.tick(61.0)
    world.settle()
    world.meet(spec("guess"), 95)
    model, out = world.scheduler.models["guess"], list[Effect]()
    assert not world.scheduler._fetch(model, "expected", world.now, out)
    assert asleep(world) == ["a"]


def test_a_known_wake_is_what_a_return_costs(world: GpuWorld) -> None:
    """A cold load of a minute is no reason to refuse who is woken in a second."""
    ticket = world.request(A, GPU)
    world.now += 60.0
    world.settle()
    world.serve(ticket)
    world.tick(61.0)
    world.settle()
    late = world.request(A, GPU, 5.0)
    assert late not in world.ended
    world.now += 1.0
    world.settle()
    assert world.scheduler.models["a"].known_load_s == 1.0
