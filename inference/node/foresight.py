"""What would happen if a model were loaded now: the scheduler's own plan, told and not carried out."""

from collections.abc import Sequence

from inference import wire
from inference.node.eviction import Fits, Impossible, Placement, Resident, Verdict, plan
from inference.node.residents import Instance
from inference.node.scheduler import Scheduler


def what_if(
    scheduler: Scheduler, spec: wire.ModelSpec, placements: Sequence[Placement], now: float
) -> wire.Planned:
    model = scheduler.models.get(spec.name)
    if model is not None and model.instance is not None:
        return _there(scheduler, model.instance)
    found = _plan(scheduler, spec.name, placements, now, waited_s=0.0)
    if isinstance(found, Fits):
        verdict: wire.Verdict = "fits_after_unloading" if found.victims else "fits"
        eta_s = None if model is None else round(model.expected_load_s(), 1)
        return _told(scheduler, found.placement, verdict, "", found.victims, now, eta_s)
    if isinstance(found, Impossible):
        return _told(scheduler, placements[0], "does_not_fit", found.reason, (), now)
    later = _plan(scheduler, spec.name, placements, now, waited_s=float("inf"))
    victims = later.victims if isinstance(later, Fits) else ()
    return _told(scheduler, placements[0], "waits", found.reason, victims, now)


def _plan(
    scheduler: Scheduler, name: str, placements: Sequence[Placement], now: float, waited_s: float
) -> Verdict:
    """Whoever has just come drains nobody who is busy; whoever waited for ever drains all who may be."""
    target = scheduler.target(name, placements, waited_s, waited_s)
    limits = scheduler.policy.limits
    return plan(target, scheduler.residents(now), scheduler.free(), now, limits)


def _there(scheduler: Scheduler, instance: Instance) -> wire.Planned:
    verdict: wire.Verdict = "loaded" if instance.state == "ready" else "loading"
    return _told(scheduler, instance.placement, verdict, "", (), 0.0)


def _told(
    scheduler: Scheduler,
    placement: Placement,
    verdict: wire.Verdict,
    reason: str,
    victims: Sequence[Resident],
    now: float,
    eta_s: float | None = None,
) -> wire.Planned:
    device = placement.device
    return wire.Planned(
        verdict=verdict,
        reason=reason,
        device=device,
        needed_bytes=placement.claim.get(device, 0),
        free_bytes=max(0, scheduler.free().get(device, 0)),
        limit_bytes=scheduler.policy.limits.bytes.get(device, 0),
        victims=[_victim(resident, device, now) for resident in victims],
        eta_s=eta_s,
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
    )
