"""What would happen if a model were loaded now: the scheduler's own plan, told and not carried out."""

from collections.abc import Sequence

import msgspec

from inference import wire
from inference.node.eviction import Fits, Impossible, Resident, Verdict, plan
from inference.node.leases import Lease
from inference.node.placement import Placement
from inference.node.residents import Instance, Model
from inference.node.scheduler import Scheduler


def what_if(
    scheduler: Scheduler, spec: wire.ModelSpec, placements: Sequence[Placement], now: float
) -> wire.Planned:
    model = scheduler.models.get(spec.name)
    if model is not None and model.instance is not None:
        return _there(scheduler, model.instance)
    told = _what_if(scheduler, model, spec, placements, now)
    if len(placements) < 2:
        return told
    places = [_place(scheduler, spec, one, told, now) for one in placements]
    return msgspec.structs.replace(told, places=places, choice=_choice(places))


def what_if_reserved(
    scheduler: Scheduler, wish: wire.Reserve, placements: Sequence[Placement], now: float
) -> wire.Planned:
    """Say what this reservation would do, as if it came now."""
    lease = Lease(0, wish, placements, since=now)
    found = scheduler.plan_lease(lease, now)
    if isinstance(found, Fits):
        verdict: wire.Verdict = "fits_after_unloading" if found.victims else "fits"
        return _told(scheduler, "", found.placement, verdict, "", found.victims, now)
    verdict = "does_not_fit" if isinstance(found, Impossible) else "waits"
    return _told(scheduler, "", placements[0], verdict, found.reason, (), now)


def _what_if(
    scheduler: Scheduler,
    model: Model | None,
    spec: wire.ModelSpec,
    placements: Sequence[Placement],
    now: float,
) -> wire.Planned:
    found = _plan(scheduler, spec, placements, now, waited_s=0.0)
    if isinstance(found, Fits):
        verdict: wire.Verdict = "fits_after_unloading" if found.victims else "fits"
        eta_s = None if model is None else round(model.expected_load_s(), 1)
        told = _told(scheduler, spec.engine, found.placement, verdict, "", found.victims, now)
        return msgspec.structs.replace(told, eta_s=eta_s)
    if isinstance(found, Impossible):
        return _told(scheduler, spec.engine, placements[0], "does_not_fit", found.reason, (), now)
    later = _plan(scheduler, spec, placements, now, waited_s=float("inf"))
    if isinstance(later, Fits):
        place, victims = later.placement, later.victims
    else:
        place, victims = placements[0], ()
    return _told(scheduler, spec.engine, place, "waits", found.reason, victims, now)


def _plan(
    scheduler: Scheduler,
    spec: wire.ModelSpec,
    placements: Sequence[Placement],
    now: float,
    waited_s: float,
) -> Verdict:
    """Whoever has just come drains nobody who is busy; whoever waited for ever drains all who may be."""
    target = scheduler.target(spec.name, placements, waited_s, waited_s)
    free, limits = scheduler.free(spec.engine), scheduler.policy.limits
    return plan(target, scheduler.residents(now), free, now, limits)


def _place(
    scheduler: Scheduler,
    spec: wire.ModelSpec,
    placement: Placement,
    told: wire.Planned,
    now: float,
) -> wire.Place:
    """Say what loading it at this place would do."""
    found = _plan(scheduler, spec, [placement], now, waited_s=0.0)
    free, limits = scheduler.free(spec.engine), scheduler.policy.limits.bytes
    device = min(placement.devices, key=lambda name: free.get(name, 0))
    victims = [resident.name for resident in found.victims] if isinstance(found, Fits) else []
    verdict: wire.Verdict = "fits_after_unloading" if victims else "fits"
    if not isinstance(found, Fits):
        verdict = "does_not_fit" if isinstance(found, Impossible) else "waits"
    return wire.Place(
        devices=[*placement.devices],
        verdict=verdict,
        reason="" if isinstance(found, Fits) else found.reason,
        needed_bytes=placement.claim.get(device, 0),
        free_bytes=max(0, free.get(device, 0)),
        limit_bytes=limits.get(device, 0),
        victims=victims,
        chosen=[*placement.devices] == told.devices,
    )


def _choice(places: Sequence[wire.Place]) -> str:
    """Say why it goes where it goes."""
    chosen = next((place for place in places if place.chosen), None)
    if chosen is None or not chosen.verdict.startswith("fits"):
        return ""
    where = ", ".join(chosen.devices)
    others = [place for place in places if not place.chosen]
    free = [place for place in others if place.verdict == "fits"]
    if chosen.victims:
        return (
            f"{where}: fewest models have to leave there, and they are the cheapest to load again"
        )
    if free:
        return f"{where}: most memory is left free there"
    return f"{where}: nobody has to leave there"


def _there(scheduler: Scheduler, instance: Instance) -> wire.Planned:
    verdict: wire.Verdict = "loaded" if instance.state == "ready" else "loading"
    return _told(scheduler, instance.spec.engine, instance.placement, verdict, "", (), 0.0)


def _told(
    scheduler: Scheduler,
    engine: str,
    placement: Placement,
    verdict: wire.Verdict,
    reason: str,
    victims: Sequence[Resident],
    now: float,
) -> wire.Planned:
    device = placement.device
    return wire.Planned(
        verdict=verdict,
        reason=reason,
        device=device,
        devices=[*placement.devices],
        needed_bytes=placement.claim.get(device, 0),
        free_bytes=max(0, scheduler.free(engine).get(device, 0)),
        limit_bytes=scheduler.policy.limits.bytes.get(device, 0),
        context_tokens=placement.context_tokens,
        victims=[_victim(resident, device, now) for resident in victims],
    )


def _victim(resident: Resident, device: str, now: float) -> wire.Victim:
    return wire.Victim(
        name=resident.name,
        claim_bytes=resident.claim.get(device, 0),
        running=resident.running,
        priority=resident.priority,
        idle_s=max(0.0, now - resident.last_used_at),
        chance=resident.chance,
        load_s=resident.load_s,
        is_training=resident.leased,
    )
