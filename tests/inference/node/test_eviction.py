"""Who must leave for whom: invariants over many machines, and the order of sacrifice."""

from hypothesis import given
from hypothesis import strategies as st

from inference import wire
from inference.node.eviction import (
    Fits,
    Impossible,
    Limits,
    Resident,
    Target,
    Verdict,
    Wait,
    plan,
)
from inference.node.placement import Placement

NOW = 1_000.0
DEVICES = ("cpu", "cuda:0")

sizes = st.integers(1, 60)
claims = st.dictionaries(st.sampled_from(DEVICES), sizes, min_size=1)


@st.composite
def residents(draw: st.DrawFn) -> list[Resident]:
    return [
        Resident(
            id=number,
            name=f"m{number}",
            claim=draw(claims),
            loading=draw(st.booleans()),
            running=draw(st.integers(0, 2)),
            pinned=draw(st.booleans()),
            priority=draw(st.integers(0, 2)),
            ready_at=draw(st.sampled_from([0.0, NOW - 1.0])),
            last_used_at=draw(st.floats(0, NOW)),
            chance=draw(st.floats(0, 1)),
            load_s=draw(st.floats(0, 10)),
        )
        for number in range(draw(st.integers(0, 6)))
    ]


targets = st.builds(
    Target,
    name=st.just("t"),
    placements=st.lists(st.builds(Placement, device=st.just("cpu"), claim=claims), min_size=1),
    waited_s=st.sampled_from([0.0, 60.0]),
)
limits_of = st.builds(
    Limits,
    bytes=st.fixed_dictionaries({"cpu": st.integers(50, 200), "cuda:0": st.integers(50, 200)}),
    max_models=st.integers(0, 5),
)


def free_of(limits: Limits, there: list[Resident]) -> dict[str, int]:
    return {d: limits.bytes[d] - sum(r.claim.get(d, 0) for r in there) for d in DEVICES}


def enough(verdict: Fits, victims: list[Resident], there: list[Resident], limits: Limits) -> bool:
    rest = [r for r in there if r not in victims]
    free = free_of(limits, rest)
    few = not limits.max_models or len(rest) < limits.max_models
    return few and all(size <= free[d] for d, size in verdict.placement.claim.items())


@given(targets, residents(), limits_of)
def test_it_never_takes_whom_it_must_not(
    target: Target, there: list[Resident], limits: Limits
) -> None:
    verdict = plan(target, there, free_of(limits, there), NOW, limits)
    for victim in verdict.victims if isinstance(verdict, Fits) else ():
        assert not victim.pinned
        assert not victim.loading
        assert NOW - victim.ready_at >= limits.min_residency_s
        assert not victim.running or target.waited_s >= limits.patience_s


@given(targets, residents(), limits_of)
def test_it_frees_enough_and_nobody_in_vain(
    target: Target, there: list[Resident], limits: Limits
) -> None:
    verdict = plan(target, there, free_of(limits, there), NOW, limits)
    if not isinstance(verdict, Fits):
        return
    victims = list(verdict.victims)
    assert enough(verdict, victims, there, limits)
    for spared in victims:
        rest = [v for v in victims if v is not spared]
        assert not enough(verdict, rest, there, limits)


@given(targets, residents(), limits_of)
def test_it_gives_up_only_where_waiting_cannot_help(
    target: Target, there: list[Resident], limits: Limits
) -> None:
    verdict = plan(target, there, free_of(limits, there), NOW, limits)
    pinned = [r for r in there if r.pinned]
    free = free_of(limits, pinned)
    places = not limits.max_models or len(pinned) < limits.max_models
    possible = places and any(
        all(size <= free[d] for d, size in p.claim.items()) for p in target.placements
    )
    assert isinstance(verdict, Impossible) == (not possible)


def one(name: str, **values: object) -> Resident:
    base: dict[str, object] = {"id": hash(name), "name": name, "claim": {"cpu": 50}}
    return Resident(**(base | values))  # type: ignore[arg-type]


def ask(*there: Resident, waited_s: float = 0.0, claim: int = 50) -> Verdict:
    limits = Limits({"cpu": 100})
    free = {"cpu": 100 - sum(r.claim["cpu"] for r in there)}
    return plan(Target("t", [Placement("cpu", {"cpu": claim})], waited_s), there, free, NOW, limits)


def victims(verdict: Verdict) -> list[str]:
    assert isinstance(verdict, Fits), verdict
    return [victim.name for victim in verdict.victims]


def test_it_takes_the_lowest_priority_first() -> None:
    low, high = one("low", last_used_at=900.0), one("high", priority=1, last_used_at=1.0)
    assert victims(ask(low, high)) == ["low"]


def test_it_takes_the_one_that_is_cheapest_to_bring_back() -> None:
    hot = one("hot", chance=0.9, load_s=10.0)
    cool = one("cool", chance=0.1, load_s=10.0, last_used_at=999.0)
    assert victims(ask(hot, cool)) == ["cool"]


def test_it_takes_the_least_recently_used_on_ties() -> None:
    older, newer = one("older", last_used_at=1.0), one("newer", last_used_at=2.0)
    assert victims(ask(newer, older)) == ["older"]


def test_it_prefers_an_idle_one_to_a_busy_one() -> None:
    busy, idle = one("busy", running=1), one("idle", last_used_at=999.0)
    assert victims(ask(busy, idle, waited_s=60.0)) == ["idle"]


def test_it_drains_a_busy_one_after_a_patient_wait() -> None:
    busy = one("busy", claim={"cpu": 100}, running=1)
    assert isinstance(ask(busy), Wait)
    assert victims(ask(busy, waited_s=60.0)) == ["busy"]


def test_it_says_what_it_waits_for() -> None:
    verdict = ask(one("busy", claim={"cpu": 100}, running=3))
    assert isinstance(verdict, Wait)
    assert "busy is busy with 3" in verdict.reason


def test_it_says_why_it_never_fits() -> None:
    verdict = ask(one("rock", pinned=True, claim={"cpu": 60}))
    assert isinstance(verdict, Impossible)
    assert "pinned" in verdict.reason


def test_it_puts_off_a_swap_that_costs_more_than_the_wait_for_it() -> None:
    hot = one("hot", claim={"cpu": 100}, chance=0.9, load_s=10.0)
    limits, place = Limits({"cpu": 100}), [Placement("cpu", {"cpu": 50})]
    early, late = Target("t", place, 3.0, 8.9), Target("t", place, 3.0, 9.1)
    verdict = plan(early, [hot], {"cpu": 0}, NOW, limits)
    assert isinstance(verdict, Wait)
    assert "wanted again" in verdict.reason
    assert victims(plan(late, [hot], {"cpu": 0}, NOW, limits)) == ["hot"]
    lone = Target("t", place, limits.quantum_s, 8.9)
    assert victims(plan(lone, [hot], {"cpu": 0}, NOW, limits)) == ["hot"]


def target(size: int) -> Target:
    return Target("t", [Placement("cpu", {"cpu": size})])


def test_it_names_the_fewest_that_are_pinned_in_the_way() -> None:
    there = [
        Resident(n, f"m{n}", {"cpu": size}, pinned=True) for n, size in enumerate((10, 40, 30))
    ]
    limits = Limits(bytes={"cpu": 100})
    found = plan(target(50), there, {"cpu": 20}, NOW, limits)
    assert isinstance(found, Impossible)
    assert found.shortage == wire.Shortage("cpu", 50, 20, 100, [wire.Holder("m1", 40, "pinned")])
    found = plan(target(75), there, {"cpu": 20}, NOW, limits)
    assert isinstance(found, Impossible)
    assert [one.name for one in found.shortage.would_have_to_go] == ["m1", "m2"]
    found = plan(target(101), there, {"cpu": 20}, NOW, limits)
    assert isinstance(found, Impossible)
    assert found.shortage.would_have_to_go == []


@given(st.lists(sizes, max_size=6), st.integers(1, 100))
def test_once_those_named_are_gone_it_could_fit(pins: list[int], wanted: int) -> None:
    there = [Resident(n, f"m{n}", {"cpu": size}, pinned=True) for n, size in enumerate(pins)]
    limits = Limits(bytes={"cpu": max(100, sum(pins))})
    free = {"cpu": limits.bytes["cpu"] - sum(pins)}
    found = plan(target(wanted), there, free, NOW, limits)
    assert isinstance(found, Impossible) == (wanted > free["cpu"])
    if isinstance(found, Impossible):
        gone = {one.name for one in found.shortage.would_have_to_go}
        left = sum(r.claim["cpu"] for r in there if r.name not in gone)
        assert wanted <= limits.bytes["cpu"] - left


def elastic(size: int, kv: int, least: int) -> Target:
    """A model whose keys and values may shrink."""
    place = Placement("cpu", {"cpu": size}, allowance_bytes=size, kv_bytes=kv, kv_min_bytes=least)
    return Target("t", [place])


def test_keys_and_values_shrink_to_what_pinned_models_leave() -> None:
    rock = one("rock", pinned=True, claim={"cpu": 30})
    found = plan(elastic(100, 60, 10), [rock], {"cpu": 70}, NOW, Limits({"cpu": 100}))
    assert isinstance(found, Fits)
    place = found.placement
    assert (place.claim, place.kv_bytes, place.allowance_bytes) == ({"cpu": 70}, 30, 70)


def test_keys_and_values_shrink_to_what_a_training_that_stays_leaves() -> None:
    job = one("job", leased=True, claim={"cpu": 30})
    found = plan(elastic(100, 60, 10), [job], {"cpu": 70}, NOW, Limits({"cpu": 100}))
    assert isinstance(found, Fits)
    assert found.placement.kv_bytes == 30


def test_keys_and_values_do_not_shrink_for_whom_an_eviction_would_take() -> None:
    idle, job = one("idle"), one("job", leased=True, yields=True, claim={"cpu": 10})
    found = plan(elastic(100, 60, 10), [idle, job], {"cpu": 40}, NOW, Limits({"cpu": 100}))
    assert sorted(victims(found)) == ["idle", "job"]
    assert isinstance(found, Fits)
    assert found.placement.kv_bytes == 60


def test_keys_and_values_shrink_no_further_than_is_of_use() -> None:
    rock = one("rock", pinned=True, claim={"cpu": 60})
    found = plan(elastic(100, 60, 10), [rock], {"cpu": 40}, NOW, Limits({"cpu": 100}))
    assert isinstance(found, Impossible)
    assert found.shortage.needed_bytes == 100


def test_no_replica_shrinks_beside_a_pinned_one() -> None:
    own = one("t", pinned=True, claim={"cpu": 30})
    found = plan(elastic(100, 60, 10), [own], {"cpu": 70}, NOW, Limits({"cpu": 100}))
    assert isinstance(found, Impossible)
