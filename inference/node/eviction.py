"""Who must leave so that a model can be loaded: one pure function, called by the scheduler only.

Order of sacrifice: never pinned, never loading, never a lease that does not yield, not before a minimum residency, busy ones only after
the target has waited long enough (and then they drain); lowest priority first; then the cheapest set
that frees enough, by chance of use x reload cost / bytes; least recently used on ties. A swap that will probably be
regretted waits until those who want it have together waited as long as it costs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inference import sizes, wire
from inference.node.placement import Bytes, Placement

SMALL_COST_S = 1.0  # a swap that costs less is never put off


@dataclass(frozen=True, slots=True)
class Resident:
    """A model that holds memory, or has it reserved."""

    id: int
    name: str
    claim: Bytes
    loading: bool = False
    running: int = 0
    pinned: bool = False
    priority: int = 0
    ready_at: float = 0.0
    last_used_at: float = 0.0
    chance: float = 0.0  # of being wanted again soon
    load_s: float = 0.0
    friends: frozenset[str] = frozenset()  # leave when it leaves
    spare: bool = False  # another engine goes on serving its model
    leased: bool = False  # no model, but the process of a client that borrowed the memory
    yields: bool = False  # a lease that traffic may take back

    @property
    def cost_s(self) -> float:
        """Seconds of loading that its eviction will probably cost."""
        return self.chance * max(self.load_s, 0.001)


Party = tuple[Resident, ...]  # all of them leave, or none


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    placements: Sequence[Placement]  # the preferred one first
    waited_s: float = 0.0
    waited_sum_s: float = float("inf")  # of all who wait for it
    foes: frozenset[str] = frozenset()  # must have left before it comes
    friends: frozenset[str] = frozenset()  # must not leave for it
    leased: bool = False  # no model: it takes no model place, drains nobody, takes no other lease


@dataclass(frozen=True, slots=True)
class Limits:
    bytes: Bytes  # what the hub may use of each device
    max_models: int = 0  # 0: as many as fit
    min_residency_s: float = 1.0  # a model that was just loaded serves at least so long
    patience_s: float = 40.0  # after so long a wait a busy model is drained
    quantum_s: float = 15.0  # a swap that will probably be regretted waits so long at most


@dataclass(frozen=True, slots=True)
class Fits:
    placement: Placement
    victims: tuple[Resident, ...] = ()


@dataclass(frozen=True, slots=True)
class Wait:
    reason: str
    shortage: wire.Shortage | None = None  # where others hold what it needs


@dataclass(frozen=True, slots=True)
class Impossible:
    reason: str
    shortage: wire.Shortage


Verdict = Fits | Wait | Impossible


def plan(
    target: Target, residents: Sequence[Resident], free: Bytes, now: float, limits: Limits
) -> Verdict:
    """Find room for `target`; `free` is what is neither used nor reserved.

    Invariant: a `Fits` leaves no device over its limit and no pinned or loading model among victims.
    """
    places = [_beside_who_stays(place, target, residents, limits) for place in target.placements]
    verdicts = [_plan_at(place, target, residents, free, now, limits) for place in places]
    fits = sorted((v for v in verdicts if isinstance(v, Fits)), key=lambda v: _price(v, free))
    waits = [v for v in verdicts if isinstance(v, Wait)]
    return [*fits, *waits, *verdicts][0]


def _beside_who_stays(
    placement: Placement, target: Target, residents: Sequence[Resident], limits: Limits
) -> Placement:
    """Keys and values take what pinned models and lasting reservations leave, if that is of use.

    A replica takes what the others have, or none comes.
    """
    stay = [r for r in residents if r.pinned or (r.leased and not r.yields)]
    if target.leased or any(r.name == target.name for r in residents):
        return placement
    over = max(
        placement.claim.get(device, 0)
        + sum(r.claim.get(device, 0) for r in stay)
        - limits.bytes.get(device, 0)
        for device in placement.devices
    )
    spare = placement.kv_bytes - placement.kv_min_bytes
    return placement.with_less(over) if 0 < over <= spare else placement


def _price(found: Fits, free: Bytes) -> tuple[bool, int, float, int]:
    """The lowest is best: who leaves, what that costs, then the device with the most left free."""
    placement, victims = found.placement, found.victims
    left = min(
        (free.get(device, 0) - placement.claim.get(device, 0)) for device in placement.devices
    )
    leased = any(victim.leased for victim in victims)
    return leased, len(victims), sum(victim.cost_s for victim in victims), -left


def _plan_at(
    placement: Placement,
    target: Target,
    residents: Sequence[Resident],
    free: Bytes,
    now: float,
    limits: Limits,
) -> Verdict:
    if never := _never(placement, target, residents, free, limits):
        return never
    parties = _parties(residents)
    able = [party for party in parties if _may_leave(party, target, now, limits)]
    foes = [party for party in parties if any(r.name in target.foes for r in party)]
    if stuck := [party for party in foes if party not in able]:
        return Wait(_apart(target, stuck))
    missing = _missing(placement.claim, free, ())
    places = limits.max_models and not target.leased
    over = _models(residents) + 1 - limits.max_models if places else 0
    others = [party for party in able if party not in foes]
    victims = _cheapest(others, foes, placement.claim, free, over)
    if victims is None:
        return _held(placement, residents, free, limits, missing)
    if _regretted(victims, target, limits):
        return Wait(_thrift(victims))
    return Fits(placement, tuple(victims))


def _regretted(victims: Sequence[Resident], target: Target, limits: Limits) -> bool:
    """Too early for a swap that will probably be wanted back."""
    cost_s = sum(victim.cost_s for victim in victims)
    early = target.waited_s < limits.quantum_s and target.waited_sum_s < cost_s
    return cost_s > SMALL_COST_S and early


def _never(
    placement: Placement,
    target: Target,
    residents: Sequence[Resident],
    free: Bytes,
    limits: Limits,
) -> Impossible | None:
    """Say why no wait can help; None if it can."""
    pinned = [r for r in residents if r.pinned]
    if foe := next((r for r in pinned if r.name in target.foes), None):
        reason = f"it may not be in memory together with {foe.name}, which is pinned"
        return Impossible(reason, _shortage(placement.device, placement, free, limits, [foe]))
    stay = [r for r in residents if r.pinned or r.name in target.friends]
    if limits.max_models and not target.leased and len(stay) >= limits.max_models:
        held = "held by pinned models" if stay == pinned else "taken, also by its company"
        reason = f"all {limits.max_models} model places are {held}: {_names(stay)}"
        return Impossible(reason, _shortage(placement.device, placement, free, limits, stay))
    for device in placement.claim:
        if never := _too_large(device, placement, stay, free, limits):
            return never
    return None


def _too_large(
    device: str, placement: Placement, stay: Sequence[Resident], free: Bytes, limits: Limits
) -> Impossible | None:
    """`stay` are pinned, or must be there together with it."""
    wanted, limit = placement.claim[device], limits.bytes.get(device, 0)
    there = sorted((r for r in stay if r.claim.get(device, 0)), key=lambda r: -r.claim[device])
    if wanted <= limit - sum(r.claim[device] for r in there):
        return None
    needs = f"it needs {sizes.text(wanted)} on {device}; {sizes.text(max(0, free.get(device, 0)))} are free"
    if wanted > limit:
        reason = f"{needs}, and the limit is {sizes.text(limit)}: {_help(placement)}"
        return Impossible(reason, _shortage(device, placement, free, limits, []))
    going = _fewest(there, wanted - limit, device)
    why = "are pinned" if all(r.pinned for r in going) else "belong with it, or are pinned,"
    reason = (
        f"{needs} of {sizes.text(limit)}, and these {why} and would have to go: {_names(going)}"
    )
    return Impossible(reason, _shortage(device, placement, free, limits, going))


def _help(placement: Placement) -> str:
    if not placement.context.is_asked:
        return "nothing that is unloaded would help"
    kv, tokens = sizes.text(placement.kv_bytes), placement.context.tokens
    return f"keys and values for the {tokens} tokens of context that are set take {kv} of it"


def _fewest(largest_first: Sequence[Resident], missing: int, device: str) -> list[Resident]:
    """Take as few as leave the others `missing` bytes (below zero: that much is left) or less."""
    held, going = sum(r.claim[device] for r in largest_first), []
    for resident in largest_first:
        if held <= -missing:
            break
        going.append(resident)
        held -= resident.claim[device]
    return going


def _shortage(
    device: str, placement: Placement, free: Bytes, limits: Limits, going: Sequence[Resident]
) -> wire.Shortage:
    return wire.Shortage(
        device=device,
        needed_bytes=placement.claim.get(device, 0),
        free_bytes=max(0, free.get(device, 0)),
        limit_bytes=limits.bytes.get(device, 0),
        would_have_to_go=[wire.Holder(r.name, r.claim.get(device, 0), _why(r)) for r in going],
    )


def _names(residents: Sequence[Resident]) -> str:
    return ", ".join(resident.name for resident in residents)


def _parties(residents: Sequence[Resident]) -> list[Party]:
    """Those that must be together leave together; a replica leaves alone."""
    found: dict[object, list[Resident]] = {}
    for resident in residents:
        own = resident.friends | {resident.name} if resident.friends else resident.id
        found.setdefault(own, []).append(resident)
    return [tuple(party) for party in found.values()]


def _may_leave(party: Party, target: Target, now: float, limits: Limits) -> bool:
    if any(resident.name in target.friends | {target.name} for resident in party):
        return False
    return all(_may_go(resident, target, now, limits) for resident in party)


def _may_go(resident: Resident, target: Target, now: float, limits: Limits) -> bool:
    if resident.pinned or resident.loading:
        return False
    if now - resident.ready_at < limits.min_residency_s:
        return False
    if resident.leased:
        return resident.yields and not target.leased
    patient = target.waited_s >= limits.patience_s and not target.leased
    return not resident.running or patient


def _missing(claim: Bytes, free: Bytes, victims: Sequence[Resident]) -> dict[str, int]:
    """Give what is still missing on each device once the victims have left."""
    short = {
        device: wanted - free.get(device, 0) - sum(v.claim.get(device, 0) for v in victims)
        for device, wanted in claim.items()
    }
    return {device: size for device, size in short.items() if size > 0}


def _cheapest(
    able: Sequence[Party], sure: Sequence[Party], claim: Bytes, free: Bytes, models_over: int
) -> list[Resident] | None:
    """Take the cheapest until it is enough, then give back whom it turned out not to need.

    Those in `sure` leave in any case.
    """
    chosen: list[Party] = []
    for party in sorted(able, key=_worth):
        leaving = _members([*sure, *chosen])
        helps = any(
            r.claim.get(device, 0) for r in party for device in _missing(claim, free, leaving)
        )
        if helps or _models(leaving) < models_over:
            chosen.append(party)
    if not _enough([*sure, *chosen], claim, free, models_over):
        return None
    for party in reversed(list(chosen)):
        rest = [other for other in chosen if other is not party]
        if _enough([*sure, *rest], claim, free, models_over):
            chosen = rest
    return _members([*sure, *chosen])


def _enough(parties: Sequence[Party], claim: Bytes, free: Bytes, models_over: int) -> bool:
    leaving = _members(parties)
    return _models(leaving) >= models_over and not _missing(claim, free, leaving)


def _models(residents: Sequence[Resident]) -> int:
    return sum(not resident.leased for resident in residents)


def _members(parties: Sequence[Party]) -> list[Resident]:
    return [resident for party in parties for resident in party]


def _worth(party: Party) -> tuple[bool, int, bool, float, float]:
    size = max(1, sum(sum(resident.claim.values()) for resident in party))
    return (
        any(resident.leased for resident in party),
        max(resident.priority for resident in party),
        any(resident.running for resident in party),
        sum(resident.cost_s for resident in party) / size,
        max(resident.last_used_at for resident in party),
    )


def _apart(target: Target, stuck: Sequence[Party]) -> str:
    foe = next(r for party in stuck for r in party if r.name in target.foes)
    return f"may not be in memory together with {foe.name}, which {_state(foe)}"


def _held(
    placement: Placement,
    residents: Sequence[Resident],
    free: Bytes,
    limits: Limits,
    missing: Mapping[str, int],
) -> Wait:
    holders = ", ".join(f"{r.name} {_state(r)}" for r in residents) or "other programs hold it"
    device = next(iter(missing), placement.device)
    going = [r for r in residents if r.claim.get(device, 0) and not r.pinned]
    shortage = _shortage(device, placement, free, limits, going)
    if not missing:
        return Wait(f"waits for a model place: {holders}", shortage)
    return Wait(
        f"waits for memory on {device}: {sizes.text(placement.claim[device])} needed, "
        f"{sizes.text(shortage.free_bytes)} free; {holders}",
        shortage,
    )


def _why(resident: Resident) -> wire.Why:
    """Say what keeps it where it is."""
    if resident.pinned:
        return "pinned"
    if resident.leased:
        return "training"
    if resident.loading:
        return "loading"
    return "busy" if resident.running else "recent"


def _thrift(victims: Sequence[Resident]) -> str:
    return f"waits a little: {_names(victims)} would have to go, and may be wanted again soon"


def _state(resident: Resident) -> str:
    if resident.leased:
        return f"holds {sizes.text(sum(resident.claim.values()))}"
    if resident.loading:
        return "is loading"
    return f"is busy with {resident.running}" if resident.running else "was used just now"
