"""A model with a habit is there before it is asked for; nobody leaves for a guess."""

from inference.node.eviction import Limits
from tests.inference.node.worlds import World, spec

PERIOD_S, IDLE_S, STEP_S = 600.0, 120.0, 5.0


def ask(world: World, name: str = "report") -> float:
    """Give how long it took until the engine had the request, with loads of one step."""
    ticket, since = world.request(spec(name), 40), world.now
    while ticket in world.waiting:
        world.tick(STEP_S)
        world.settle()
    world.serve(ticket)
    return world.now - since


def rest(world: World, seconds: float) -> None:
    until = world.now + seconds
    while world.now < until:
        world.tick(STEP_S)
        world.settle()


def habit(*, prefetch: bool) -> tuple[World, list[float]]:
    world = World(Limits({"cpu": 100}), auto_unload_s=IDLE_S)
    world.scheduler.policy.prefetch = prefetch
    waits = []
    for _ in range(8):
        waits.append(ask(world))
        rest(world, PERIOD_S)
    return world, waits


def test_a_habit_is_learned() -> None:
    _, without = habit(prefetch=False)
    world, waits = habit(prefetch=True)
    assert without == [STEP_S] * 8
    assert waits[-4:] == [0.0] * 4
    told = [record.detail for record in world.records if record.action == "load"]
    assert any(detail.startswith("expected: ") for detail in told)


def test_nobody_leaves_for_a_guess() -> None:
    world, _ = habit(prefetch=True)
    other = world.request(spec("other", pinned=True), 70)
    world.settle()
    world.serve(other)
    before = len(world.records)
    rest(world, PERIOD_S)
    assert {record.model for record in world.records[before:]} <= {"report"}
    assert [start.spec.name for start in world.ready.values()] == ["other"]


def loads(world: World) -> int:
    return sum(record.action == "load" for record in world.records)


def test_a_wrong_guess_is_not_repeated() -> None:
    world, _ = habit(prefetch=True)
    before = loads(world)
    rest(world, 4 * PERIOD_S)
    assert loads(world) == before
    assert not world.ready


def test_an_operators_unload_is_no_wish_for_a_guess() -> None:
    world, _ = habit(prefetch=True)
    ask(world)
    world.unload("report")
    world.settle()
    before = loads(world)
    rest(world, PERIOD_S)  # the time at which it would have been fetched passes
    assert loads(world) == before
