"""Whatever happens in whatever order: nobody is lost, memory holds, everything comes to an end."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from inference import wire
from inference.errors import Conflict, EngineFailed, LoadFailed
from inference.node.company import Company
from inference.node.eviction import Limits
from inference.node.placement import Placement
from inference.node.residents import Policy
from inference.node.sleeping import RESTING
from tests.inference.node.worlds import World, spec

NAMES = st.sampled_from(["a", "b", "c", "rock"])
SIZES = {"a": 40, "b": 50, "c": 70, "rock": 20}


class Traffic(RuleBasedStateMachine):
    company = Company()
    devices: tuple[str, ...] = ("cpu",)
    replicas: dict[str, int] = {}

    def __init__(self) -> None:
        super().__init__()
        self.world = self.make_world()
        self.world.scheduler.policy.company = self.company
        self.asked: set[int] = set()
        self.cancelled: set[int] = set()
        self.soft: dict[str, tuple[bool, int]] = {"rock": (True, 0)}  # pin and priority

    def make_world(self) -> World:
        return World(self.limits(), auto_unload_s=60.0, devices=self.devices)

    def limits(self) -> Limits:
        return Limits(dict.fromkeys(self.devices, 100), max_models=3 * len(self.devices))

    def spec(self, name: str, version: str) -> wire.ModelSpec:
        pinned, priority = self.soft.get(name, (False, 0))
        values = {"pinned": pinned, "priority": priority, "max_concurrency": 2, "max_queue": 4}
        many = self.replicas.get(name, 1)
        return spec(name, version=version, replicas=many, **values)

    @rule(
        name=NAMES,
        version=st.sampled_from(["1", "1", "1", "2"]),
        deadline_s=st.sampled_from([0.5, 30.0, 1e9]),
        runs=st.booleans(),
    )
    def request(self, name: str, version: str, deadline_s: float, runs: bool) -> None:
        model = self.spec(name, version)
        ticket = self.world.request(model, SIZES[name], deadline_s, runs=runs)
        self.asked.add(ticket)

    @precondition(lambda self: self.world.waiting)
    @rule(data=st.data(), unseen=st.booleans())
    def leave(self, data: st.DataObject, unseen: bool) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.world.waiting)))
        self.cancelled.add(ticket)
        if unseen:
            self.world.left.add(ticket)
        else:
            self.world.cancel(ticket)

    @precondition(lambda self: self.world.running)
    @rule(data=st.data())
    def serve(self, data: st.DataObject) -> None:
        self.world.serve(data.draw(st.sampled_from(sorted(self.world.running))))

    @precondition(lambda self: self.world.loading)
    @rule(data=st.data())
    def become_ready(self, data: st.DataObject) -> None:
        self.world.make_ready(data.draw(st.sampled_from(sorted(self.world.loading))))

    @precondition(lambda self: self.world.loading or self.world.ready)
    @rule(data=st.data(), says_why=st.booleans())
    def die(self, data: st.DataObject, says_why: bool) -> None:
        alive = sorted([*self.world.loading, *self.world.ready])
        instance = data.draw(st.sampled_from(alive))
        told = says_why and instance in self.world.loading
        self.world.fail(instance, LoadFailed("broken") if told else None)

    @precondition(lambda self: self.world.going)
    @rule(data=st.data())
    def vanish(self, data: st.DataObject) -> None:
        self.world.gone(data.draw(st.sampled_from(sorted(self.world.going))))

    @rule(name=NAMES, force=st.booleans())
    def unload(self, name: str, force: bool) -> None:
        model = self.world.scheduler.models.get(name)
        try:
            self.world.unload(name, force=force)
        except Conflict:
            assert model is None or not self.world.scheduler.held_by(model)

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        self.world.remove(name)
        model = self.world.scheduler.models.get(name)
        assert model is None or not (model.queue or model.instances)

    @rule(name=NAMES, pinned=st.booleans(), priority=st.integers(0, 2))
    def revise(self, name: str, pinned: bool, priority: int) -> None:
        model = self.world.scheduler.models.get(name)
        if model and name != "rock":
            self.soft[name] = pinned, priority
            self.world.revise(self.spec(name, model.spec.version))

    @precondition(lambda self: self.world.ready)
    @rule(data=st.data(), grown=st.integers(1, 30))
    def grow(self, data: st.DataObject, grown: int) -> None:
        """An engine takes more than it claimed, so that all together may pass the limit."""
        instance = data.draw(st.sampled_from(sorted(self.world.ready)))
        placement = self.world.ready[instance].placement
        claim = {device: size + grown for device, size in placement.claim.items()}
        self.world.scheduler.on_measured(instance, claim)

    @rule(seconds=st.sampled_from([0.1, 3.0, 61.0]))
    def tick(self, seconds: float) -> None:
        self.world.tick(seconds)

    @invariant()
    def nobody_is_lost(self) -> None:
        world = self.world
        places = [world.waiting, {*world.running}, {*world.ended}]
        assert self.asked == set.union(*places) | (self.cancelled - world.waiting)
        assert sum(map(len, places)) == len(set.union(*places))
        queued = [t.id for m in world.scheduler.models.values() for t in m.queue]
        assert sorted(queued) == sorted(world.waiting)

    @invariant()
    def memory_holds(self) -> None:
        for device, limit in self.world.limits.bytes.items():
            assert sum(held.get(device, 0) for held in self.world.held.values()) <= limit
        there = [
            i
            for i in self.world.scheduler.instances.values()
            if i.has_process and i.id not in self.world.asleep
        ]
        for device in self.devices:
            assert sum(i.placement.claim.get(device, 0) for i in there) <= 100
        assert len(there) <= self.world.limits.max_models

    @invariant()
    def in_flight_is_what_was_delivered(self) -> None:
        held = [t for i in self.world.scheduler.instances.values() for t in i.running]
        assert sorted(held) == sorted(self.world.running)
        assert not [t for i in self.world.scheduler.instances.values() for t in i.offered]

    def teardown(self) -> None:
        """From any state, time and working engines alone bring everything to an end."""
        world = self.world
        for _ in range(200):
            world.settle()
            for ticket in [*world.running]:
                world.serve(ticket)
            world.tick(6.0)
        assert not world.waiting
        assert not world.running
        assert self.asked == {*world.ended} | self.cancelled


class Borrowed(Traffic):
    """The same beside trainings that reserve memory, some of which must yield to traffic."""

    def __init__(self) -> None:
        super().__init__()
        self.reserved: set[int] = set()
        self.closed: set[int] = set()

    @rule(
        size=st.integers(1, 110),
        deadline_s=st.sampled_from([0.5, 30.0, None]),
        priority=st.integers(0, 2),
        is_preemptible=st.booleans(),
    )
    def reserve(
        self, size: int, deadline_s: float | None, priority: int, is_preemptible: bool
    ) -> None:
        values = {"priority": priority, "is_preemptible": is_preemptible}
        self.reserved.add(self.world.reserve(size, deadline_s, **values))

    @precondition(lambda self: self.world.lent)
    @rule(data=st.data(), part=st.floats(0.1, 1.0))
    def need_less(self, data: st.DataObject, part: float) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.world.lent)))
        size = self.world.lent[ticket].claim["cpu"]
        self.world.resize(ticket, max(1, int(size * part)))

    @precondition(lambda self: self.world.lent or self.world.reserving)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted({*self.world.lent} | self.world.reserving)))
        self.closed.add(ticket)
        self.world.release(ticket)

    @invariant()
    def no_reservation_is_lost(self) -> None:
        world = self.world
        places = [world.reserving, {*world.lent}, {*world.declined}, self.closed]
        assert self.reserved == set.union(*places)
        assert sum(map(len, places)) == len(self.reserved)
        assert {*world.scheduler.leases} == world.reserving | {*world.lent}

    @invariant()
    def what_was_lent_is_in_the_memory(self) -> None:
        there = [i for i in self.world.scheduler.instances.values() if i.has_process]
        lent = sum(lease.claim["cpu"] for lease in self.world.lent.values())
        assert lent + sum(i.placement.claim["cpu"] for i in there) <= 100

    def teardown(self) -> None:
        """Trainings that yield when asked, or end, bring all others to their end, too."""
        world = self.world
        for _ in range(60):
            world.settle()
            for ticket in [*world.running]:
                world.serve(ticket)
            for ticket in [*world.recalled, *[*world.lent][:1]]:
                if ticket in world.lent:
                    self.close_one(ticket)
            world.tick(6.0)
        assert not world.reserving
        assert not world.lent
        super().teardown()

    def close_one(self, ticket: int) -> None:
        self.closed.add(ticket)
        self.world.release(ticket)


class Sociable(Traffic):
    """The same with models that may never, and others that must always, be there together."""

    company = Company(apart=(frozenset("bc"),), together=(frozenset({"a", "rock"}),))

    @rule(name=st.sampled_from(["a", "rock"]))
    def meet(self, name: str) -> None:
        self.world.meet(self.spec(name, "1"), SIZES[name])


class Ruled(Traffic):
    """The same while the operator changes the rules."""

    @rule(
        apart=st.sets(st.sets(NAMES, min_size=2).map(frozenset), max_size=2),
        max_models=st.integers(0, 4),
        favoured=st.lists(NAMES, unique=True),
    )
    def change_rules(
        self, apart: set[frozenset[str]], max_models: int, favoured: list[str]
    ) -> None:
        limits = replace(self.world.limits, max_models=max_models)
        policy = Policy(limits, 60.0, tuple(favoured), company=Company(apart=tuple(apart)))
        self.world.set_rules(policy)

    @invariant()
    def memory_holds(self) -> None:
        there = [i for i in self.world.scheduler.instances.values() if i.has_process]
        assert sum(i.placement.claim["cpu"] for i in there) <= 100

    def teardown(self) -> None:
        """Those who no longer may be there together have parted, too."""
        super().teardown()
        there = [i.name for i in self.world.scheduler.instances.values() if i.name != "rock"]
        policy = self.world.scheduler.policy
        assert not any(policy.company.foes(name) & {*there} for name in there)
        assert not policy.limits.max_models or len(there) <= policy.limits.max_models


class Replicated(Traffic):
    """The same on three GPUs, with models of which there may be several engines."""

    devices = ("cuda:0", "cuda:1", "cuda:2")
    replicas = {"a": 2, "b": 3, "rock": 2}

    @rule(name=st.sampled_from(["a", "b"]), many=st.integers(1, 4))
    def want(self, name: str, many: int) -> None:
        """The operator changes how many there should be."""
        model = self.world.scheduler.models.get(name)
        if model:
            self.replicas = {**self.replicas, name: many}
            self.world.revise(self.spec(name, model.spec.version))

    @invariant()
    def no_more_than_are_wanted_take_requests(self) -> None:
        for model in self.world.scheduler.models.values():
            assert len(model.instances) <= model.replicas
            assert all(i.stays for i in model.instances)
        serving = [i for m in self.world.scheduler.models.values() for i in m.instances]
        stays = [i for i in self.world.scheduler.instances.values() if i.stays]
        assert {i.id for i in serving} == {i.id for i in stays}


class SleepyWorld(World):
    """Models on a GPU with room for two or so, that keep something of it while they sleep."""

    def places(self, size: int) -> list[Placement]:
        asleep = {"gpu": 15, "cpu": size // 2}
        return [Placement("gpu", {"gpu": size, "cpu": 5}, asleep=asleep)]


class Sleepy(Traffic):
    """The same with engines that may sleep, and beside them a reservation of main memory."""

    def make_world(self) -> World:
        return SleepyWorld(self.limits(), auto_unload_s=60.0)

    def limits(self) -> Limits:
        return Limits({"cpu": 60, "gpu": 100}, max_models=3)

    @precondition(lambda self: self.world.dozing)
    @rule(data=st.data())
    def fall_asleep(self, data: st.DataObject) -> None:
        self.world.fall_asleep(data.draw(st.sampled_from(sorted(self.world.dozing))))

    @precondition(lambda self: self.world.dozing or self.world.asleep)
    @rule(data=st.data(), says_why=st.booleans())
    def end_in_its_sleep(self, data: st.DataObject, says_why: bool) -> None:
        instance = data.draw(st.sampled_from(sorted([*self.world.dozing, *self.world.asleep])))
        told = says_why and instance in self.world.dozing
        self.world.fail(instance, EngineFailed("it cannot") if told else None)

    @rule(name=st.sampled_from(["a", "b", "c"]), settled=st.booleans())
    def lull(self, name: str, settled: bool) -> None:
        """A request is answered, then comes none for a minute: engines fall asleep, or have."""
        self.request(name, "1", 1e9, runs=True)
        for _ in range(3):
            self.world.settle()
            for ticket in [*self.world.running]:
                self.world.serve(ticket)
            self.world.tick(3.0)
        self.world.tick(61.0)
        if settled:
            self.world.settle()

    @rule(size=st.sampled_from([0, 20, 50]))
    def hold(self, size: int) -> None:
        """Other programs take main memory, and give it back."""
        self.world.scheduler.held_elsewhere["cpu"] = size

    @invariant()
    def who_sleeps_is_known_and_claims_what_it_holds(self) -> None:
        scheduler = self.world.scheduler
        resting = {i.id: i.state for i in scheduler.instances.values() if i.state in RESTING}
        phases = {"dozing": self.world.dozing, "asleep": self.world.asleep}
        assert resting == {i: state for state, those in phases.items() for i in those}
        names = [scheduler.instances[i].name for i in resting]
        assert len(names) == len({*names}), "one of each model"
        for instance, held in self.world.held.items():
            claim = scheduler.instances[instance].claim
            assert all(claim[device] >= size for device, size in held.items())

    def teardown(self) -> None:
        self.world.scheduler.held_elsewhere.clear()
        super().teardown()


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestBorrowed = Borrowed.TestCase
TestBorrowed.settings = TestTraffic.settings
TestSociable = Sociable.TestCase
TestSociable.settings = TestTraffic.settings
TestRuled = Ruled.TestCase
TestRuled.settings = TestTraffic.settings
TestSleepy = Sleepy.TestCase
TestSleepy.settings = TestTraffic.settings
TestReplicated = Replicated.TestCase
TestReplicated.settings = TestTraffic.settings


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(NAMES, st.integers(1, 5)), min_size=1, max_size=40))
def test_it_serves_everybody_in_mixed_traffic(arrivals: list[tuple[str, int]]) -> None:
    """More models than fit, all asked for at once and again: each request is served in the end."""
    world = World(Limits({"cpu": 100}))
    tickets = [
        world.request(spec(name, max_concurrency=2), SIZES[name])
        for name, count in arrivals
        for _ in range(count)
    ]
    for _ in range(40 * len(tickets)):
        world.settle()
        for ticket in [*world.running][:1]:
            world.serve(ticket)
        world.tick(1.0)
    assert world.ended == dict.fromkeys(tickets)
