"""What loading a model now would do is told, and is what then happens; asking changes nothing."""

from hypothesis import given
from hypothesis import strategies as st

from inference import wire
from inference.node.eviction import Limits
from inference.node.foresight import what_if
from inference.node.placement import Placement
from tests.inference.node.nodes import Node, ask, fake
from tests.inference.node.worlds import World, spec


def loaded(world: World, *names: str, size: int = 40, **values: object) -> None:
    for name in names:
        ticket = world.request(spec(name, **values), size)
        world.settle()
        world.serve(ticket)
    world.now += 6.0


def asked(world: World, name: str, size: int) -> wire.Planned:
    place = Placement("cpu", {"cpu": size})
    return what_if(world.scheduler, spec(name), [place], world.now)


def test_it_tells_a_model_that_fits() -> None:
    found = asked(World(), "a", 40)
    assert (found.verdict, found.victims) == ("fits", [])
    assert (found.needed_bytes, found.free_bytes, found.limit_bytes) == (40, 100, 100)


def test_it_names_who_would_go_and_why() -> None:
    world = World()
    loaded(world, "old", "new")
    found = asked(world, "b", 40)
    assert found.verdict == "fits_after_unloading"
    (victim,) = found.victims
    assert (victim.name, victim.claim_bytes, victim.running) == ("old", 40, 0)
    assert victim.idle_s >= 6.0


def test_it_tells_what_is_there_already() -> None:
    world = World()
    world.request(spec("a"))
    assert asked(world, "a", 40).verdict == "loading"
    world.settle()
    assert asked(world, "a", 40).verdict == "loaded"


def test_it_tells_for_whom_it_would_wait() -> None:
    world = World()
    world.request(spec("busy"), 80)
    world.settle()
    world.now += 6.0
    found = asked(world, "b", 40)
    assert found.verdict == "waits"
    assert "busy is busy with 1" in found.reason
    assert [(victim.name, victim.running) for victim in found.victims] == [("busy", 1)]


def test_it_tells_that_a_standby_process_is_room_for_who_takes_it_over() -> None:
    world = World()
    world.scheduler.held_elsewhere["cpu"] = 30
    assert asked(world, "a", 80).verdict == "waits"
    world.scheduler.inherited["fake"] = 30
    found = asked(world, "a", 80)
    assert (found.verdict, found.free_bytes) == ("fits", 100)


def test_it_tells_why_a_model_never_fits() -> None:
    world = World()
    loaded(world, "kept", size=80, pinned=True)
    found = asked(world, "b", 40)
    assert found.verdict == "does_not_fit"
    assert "pinned and would have to go: kept" in found.reason


@given(
    st.lists(st.integers(5, 60), max_size=6),
    st.integers(1, 120),
    st.integers(0, 4),
    st.sets(st.integers(0, 5)),
)
def test_what_it_tells_is_what_happens(
    sizes: list[int], size: int, most: int, busy: set[int]
) -> None:
    world = World(Limits({"cpu": 100}, max_models=most, quantum_s=0.0))
    for at, own in enumerate(sizes):
        ticket = world.request(spec(f"m{at}"), own)
        world.settle()
        if ticket in world.running and at not in busy:
            world.serve(ticket)
    for waiting in [*world.waiting]:
        world.cancel(waiting)
    world.settle()
    world.now += 30.0
    found = asked(world, "new", size)
    assert asked(world, "new", size) == found
    before = {start.spec.name for start in world.ready.values()}
    ticket = world.request(spec("new"), size)
    left = before - {start.spec.name for start in world.ready.values()}
    assert (world.ended.get(ticket) is not None) is (found.verdict == "does_not_fit")
    if found.verdict.startswith("fits"):
        assert left == {victim.name for victim in found.victims}
    else:
        assert not left


async def test_a_node_tells_it_without_loading(node: Node) -> None:
    model = fake("foreseen", memory_bytes=10_000_000)
    (found,) = await ask(node, wire.Plan(spec=model))
    assert isinstance(found, wire.Planned)
    assert found.verdict == "fits"
    assert found.needed_bytes > 10_000_000
    async with node.talk() as talk:
        talk.send(wire.Watch())
        state = await talk.until(wire.Snapshot)
    assert "foreseen" not in {one.name for one in state.models if one.state != "cold"}


def test_it_tells_what_a_long_context_would_take_beside_a_pinned_model() -> None:
    world = World()
    loaded(world, "rock", size=30, pinned=True)
    world.request(spec("busy"), 40)
    world.settle()
    world.now += 6.0
    place = Placement("cpu", {"cpu": 100}, allowance_bytes=100, kv_bytes=60, kv_min_bytes=10)
    found = what_if(world.scheduler, spec("b"), [place], world.now)
    assert (found.verdict, found.needed_bytes) == ("waits", 70)
