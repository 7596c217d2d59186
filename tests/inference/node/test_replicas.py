"""Several engines of one model: where they go, who gets which request, what one's end means. Pure."""

from inference import wire
from inference.errors import LoadFailed
from inference.node.eviction import Limits
from inference.node.replicas import lineage
from tests.inference.node.worlds import World, spec

GPUS = ("cuda:0", "cuda:1")
TWO = spec("a", replicas=2, max_concurrency=2)


def machine(*sizes: int, **values: object) -> World:
    limits = Limits(dict(zip(GPUS, sizes or (100, 100), strict=True)))
    return World(limits, devices=GPUS, **values)  # type: ignore[arg-type]


def devices_of(world: World, name: str) -> list[str]:
    return [i.placement.device for i in world.scheduler.models[name].instances]


def both(world: World) -> tuple[int, int]:
    """Have two ready engines of `a`."""
    world.serve_all(world.request(TWO, 40))
    first, second = world.ready
    return first, second


def chat(*turns: str) -> wire.Generate:
    messages = [wire.ChatMessage("user", turn) for turn in turns]
    return wire.Generate(prompt=wire.ChatPrompt(messages=messages))


# --- where they go ----------------------------------------------------------------------------------


def test_each_has_a_gpu_of_its_own_the_one_with_most_room_first() -> None:
    world = machine(90, 100)
    both(world)
    assert devices_of(world, "a") == ["cuda:1", "cuda:0"]


def test_no_more_come_than_there_are_gpus() -> None:
    world = machine()
    world.serve_all(world.request(spec("a", replicas=5), 10))
    world.tick()
    world.settle()
    assert sorted(devices_of(world, "a")) == [*GPUS]


def test_main_memory_holds_several() -> None:
    world = World()
    world.serve_all(world.request(spec("a", replicas=2), 40))
    assert devices_of(world, "a") == ["cpu", "cpu"]


def test_nobody_leaves_for_a_replica_that_nobody_waits_for() -> None:
    world = machine()
    world.serve_all(world.request(spec("other"), 80))
    taken = devices_of(world, "other")
    world.now += 60.0
    world.serve_all(world.request(TWO, 40))
    world.tick(10.0)
    world.settle()
    assert devices_of(world, "other") == taken
    assert len(devices_of(world, "a")) == 1


def test_an_idle_one_leaves_when_all_engines_are_full_and_requests_wait() -> None:
    world = machine()
    world.serve_all(world.request(spec("other"), 80))
    world.now += 60.0
    for _ in range(3):
        world.request(TWO, 40)
    world.settle()
    world.tick(20.0)
    world.settle()
    assert sorted(devices_of(world, "a")) == [*GPUS]
    assert devices_of(world, "other") == []
    assert len(world.running) == 3


def test_a_spare_replica_leaves_before_another_model_does() -> None:
    world = World()
    world.serve_all(world.request(spec("a", replicas=2), 30))
    world.serve_all(world.request(spec("rare"), 30))
    world.now += 60.0
    world.serve_all(world.request(spec("a", replicas=2), 30))
    world.now += 30.0
    world.serve_all(world.request(spec("new"), 30))
    assert len(devices_of(world, "a")) == 1
    assert devices_of(world, "rare")
    (told,) = [r for r in world.records if r.action == "unload"]
    assert (told.model, told.detail) == ("a", "priority 0, and another replica of it stays")


# --- who gets a request -----------------------------------------------------------------------------


def test_requests_go_to_the_least_busy() -> None:
    world = machine()
    first, second = both(world)
    tickets = [world.request(TWO, 40) for _ in range(4)]
    assert sorted(world.running[ticket] for ticket in tickets) == [first, first, second, second]
    assert world.running[tickets[0]] != world.running[tickets[1]]


def test_a_conversation_goes_on_where_it_was_computed() -> None:
    world = machine()
    both(world)
    homes = set()
    for text in ("red", "blue", "green", "white"):
        one = world.request(TWO, 40, lineage=lineage(chat("be brief", text)))
        other = world.request(TWO, 40, lineage=lineage(chat("be brief", f"not {text}")))
        home = world.running[one]
        homes.add(home)
        world.serve(one)
        world.serve(other)
        again = world.request(TWO, 40, lineage=lineage(chat("be brief", text, "and?")))
        assert world.running[again] == home
        world.serve(again)
    assert homes


def test_no_conversation_waits_for_its_engine() -> None:
    world = machine()
    first, second = both(world)
    known = lineage(chat("x"))
    home = world.request(TWO, 40, lineage=known)
    away = world.request(TWO, 40, lineage=lineage(chat("x", "y")))
    assert {world.running[home], world.running[away]} == {first, second}


def test_a_prompts_beginnings_are_named_alike_and_an_adapters_are_its_own() -> None:
    short, long = lineage(chat("a", "b")), lineage(chat("a", "b", "c"))
    assert long[:2] == short
    assert lineage(chat("ab")) != lineage(chat("a", "b"))
    tuned = wire.Generate(prompt=chat("a").prompt, adapter=wire.Adapter(name="n", path="/n"))
    assert lineage(tuned)[0] != short[0]
    story = "once " * 300
    texts = [wire.Generate(prompt=wire.TextPrompt(text=t)) for t in (story, story + "upon")]
    assert lineage(texts[0]) == lineage(texts[1])
    assert len(lineage(texts[0])) == 2
    tokens = wire.Generate(prompt=wire.TokenPrompt(tokens=[*range(300)]))
    assert len(lineage(tokens)) == 2
    assert lineage(wire.Probe()) == ()


# --- ends -------------------------------------------------------------------------------------------


def test_one_that_dies_leaves_the_others_serving_and_comes_back() -> None:
    world = machine()
    first, second = both(world)
    one, other = world.request(TWO, 40), world.request(TWO, 40)
    dead, alive = world.running[one], world.running[other]
    world.fail(dead, None)
    world.gone(dead)
    assert world.running == {other: alive}
    later = world.request(TWO, 40)
    assert world.running[later] == alive
    world.tick(1.0)
    world.settle()
    assert sorted(devices_of(world, "a")) == [*GPUS]
    assert {first, second} != {*world.ready}


def test_one_that_always_fails_is_tried_ever_more_seldom_and_refuses_nobody() -> None:
    world = machine()
    world.request(TWO, 40)
    (first,) = world.loading
    world.make_ready(first)
    loads = 0
    for _ in range(600):
        for instance in [*world.loading]:
            loads += 1
            world.fail(instance, LoadFailed("the other GPU is broken"))
            world.gone(instance)
        for ticket in [*world.running]:
            world.serve(ticket)
        world.request(TWO, 40)
        assert [*world.running.values()] == [first]
        world.tick(1.0)
    assert 8 <= loads <= 20
    assert not any(world.ended.values())


def test_an_unload_takes_all() -> None:
    world = machine()
    both(world)
    world.unload("a")
    assert len(world.going) == 2
    world.settle()
    world.tick(60.0)
    assert not world.ready
    assert not world.loading


def test_an_idle_model_leaves_as_a_whole_once_the_last_of_it_is_idle() -> None:
    world = machine(auto_unload_s=100.0)
    both(world)
    world.now += 99.0
    world.serve(world.request(TWO, 40))
    world.tick(99.0)
    assert len(world.ready) == 2
    world.tick(1.0)
    assert len(world.going) == 2


def test_fewer_are_unloaded_and_more_come_without_a_request() -> None:
    world = machine()
    both(world)
    world.revise(spec("a", replicas=1, max_concurrency=2))
    world.settle()
    assert len(world.ready) == 1
    world.revise(TWO)
    world.settle()
    assert sorted(devices_of(world, "a")) == [*GPUS]


def test_a_new_version_replaces_all() -> None:
    world = machine()
    old = both(world)
    world.now += 10.0
    world.serve_all(world.request(spec("a", replicas=2, version="2"), 40))
    assert len(world.ready) == 2
    assert not {*old} & {*world.ready}
