"""Whether a model fits this node, in figures, before it is loaded. Called by the management API.

The node decides when it loads; this only says what its formula says now.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from django.conf import settings

from inference import wire
from inference.errors import HubError
from inference.node import headers, memory, spread
from inference.node.company import Company

VERDICTS = {
    "fits": "It fits beside what is loaded now.",
    "fits_after_unloading": "It fits after unloading {}.",
    "does_not_fit": "It does not fit, even with nothing else loaded.",
}
STAY = "It does not fit, because these hold the memory and stay: {}."
PLACES = "It does not fit, because pinned models hold all {} model places: {}."
APART = "It does not fit, because it may not be in memory together with these, which stay: {}."
NOWHERE = "It does not fit, because the model service has no {}: it has {}."
OTHER_PROGRAMS = "other programs"

ORDER = list(VERDICTS)
QUANTIZING = "llm_transformers"  # the engine that makes weights smaller while it loads


def of(spec: wire.ModelSpec, state: wire.Snapshot) -> dict[str, Any] | None:
    """Compare the claim with each device; None where the files cannot be read or it is loaded.

    What does not fit is told with what it would be in 8 and in 4 bits, where its engine offers that.
    """
    resident = {model.name for model in state.models if model.claim_bytes}
    if spec.name in resident or spec.engine in memory.WITHOUT_FILES:
        return None
    try:
        shape = headers.read(spec.path)
    except (headers.UnreadableModel, HubError, OSError):
        return None
    return of_shape(spec, shape, state)


def of_shape(spec: wire.ModelSpec, shape: headers.Shape, state: wire.Snapshot) -> dict[str, Any]:
    """Do as `of` with sizes that are known."""
    devices = [device for device in state.devices if _may_run_on(spec, device.name)]
    if not devices:
        return _nowhere(spec, shape, state)
    verdicts = [_on(spec, shape, device, state) for device in devices]
    best = min(verdicts, key=lambda found: ORDER.index(found["verdict"]))
    if best["verdict"] == "does_not_fit":
        best["smaller"] = _smaller(spec, shape, state)
    return best


def _nowhere(spec: wire.ModelSpec, shape: headers.Shape, state: wire.Snapshot) -> dict[str, Any]:
    """Say which device is missing."""
    there = _words(one.name for one in state.devices) or "none"
    return {
        "smaller": [],
        "verdict": "does_not_fit",
        "reason": NOWHERE.format(spec.device, there),
        "would_have_to_go": [],
        "device": spec.device,
        "needed_bytes": memory.need(spec, shape, cuda=spec.device.startswith("cuda")).bytes,
        "free_bytes": 0,
        "limit_bytes": 0,
    }


def _smaller(
    spec: wire.ModelSpec, shape: headers.Shape, state: wire.Snapshot
) -> list[dict[str, Any]]:
    if spec.engine != QUANTIZING or spec.options.get("quantization", "none") != "none":
        return []
    found = []
    for mode in memory.QUANTIZED_SHARES:
        options = {**spec.options, "quantization": mode}
        judged = of_shape(msgspec.structs.replace(spec, options=options), shape, state)
        kept = {name: judged[name] for name in ("verdict", "needed_bytes", "device")}
        found.append({"quantization": mode, **kept})
    return found


@dataclass(frozen=True, slots=True)
class _Holder:
    """Who has memory on a device, with its company; `stays` where no model makes it leave."""

    names: tuple[str, ...]
    claim_bytes: int = 0  # there
    engines: int = 0  # none of a training
    stays: bool = False
    order: tuple[bool, bool, float] = (False, False, 0.0)  # the lowest leaves first
    is_foe: bool = False  # it has to leave, whatever memory there is


@dataclass(frozen=True, slots=True)
class _Judged:
    verdict: str
    reason: str
    names: Sequence[str] = ()  # who would have to go


def _on(
    spec: wire.ModelSpec, shape: headers.Shape, device: wire.DeviceInfo, state: wire.Snapshot
) -> dict[str, Any]:
    cuda = device.name.startswith("cuda")
    over, limit = spread.width(spec) if cuda else 1, device.limit_bytes
    need = memory.need(spec, shape, cuda=cuda, over=over, limit_bytes=limit)
    least = need.fixed_bytes + need.kv_min_bytes  # with the shortest useful cache
    holders = _holders(spec.name, device.name, state)
    staying = sum(one.claim_bytes for one in holders if one.stays)
    room = limit - device.others_bytes  # standby gives way
    free = room - sum(one.claim_bytes for one in holders)
    wanted = max(least, min(need.bytes, limit - staying))
    kv_bytes = max(need.kv_min_bytes, min(need.kv_bytes, wanted - need.fixed_bytes))
    if least > limit:
        judged = _Judged("does_not_fit", VERDICTS["does_not_fit"])
    else:
        judged = _judged(wanted - free, holders, state.max_models)
    return {
        "smaller": [],
        "verdict": judged.verdict,
        "reason": judged.reason,
        "would_have_to_go": [*dict.fromkeys(judged.names)],
        "device": device.name,
        "needed_bytes": wanted,
        "free_bytes": max(0, free),
        "limit_bytes": limit,
        "context_tokens": need.context.held(kv_bytes * over),
    }


def _holders(name: str, device: str, state: wire.Snapshot) -> list[_Holder]:
    """Give models by the company that leaves together, and trainings."""
    company, parties = _company(), dict[object, list[_Holder]]()
    awake = [status for status in state.models if status.state != "asleep"]  # those give way
    for status in awake:
        if (one := _model(status, device)).engines:
            parties.setdefault(company.friends(status.name) | {status.name}, []).append(one)
    foes, friends = company.foes(name), company.friends(name)
    models = [_party(party, foes, friends) for party in parties.values()]
    return models + [_training(one) for one in state.reservations if one.holds(device)]


def _company() -> Company:
    rules = settings.HUB_CONFIG.model_config
    apart, together = rules.never_together, rules.always_together
    return Company(tuple(map(frozenset, apart)), tuple(map(frozenset, together)))


def _party(party: Sequence[_Holder], foes: Collection[str], friends: Collection[str]) -> _Holder:
    """One that is pinned holds all, and so does one that is there with the model that comes."""
    names = tuple(name for one in party for name in one.names)
    return _Holder(
        names,
        claim_bytes=sum(one.claim_bytes for one in party),
        engines=sum(one.engines for one in party),
        stays=any(one.stays for one in party) or any(name in friends for name in names),
        order=max(one.order for one in party),
        is_foe=any(name in foes for name in names),
    )


def _model(model: wire.ModelStatus, device: str) -> _Holder:
    there = sum(part.claim_bytes for part in model.spots if part.device == device)
    engines = len({part.replica for part in model.spots})
    order = (False, model.running > 0, -model.idle_s)
    return _Holder((model.name,), there, engines, model.pinned, order)


def _training(one: wire.ReservationStatus) -> _Holder:
    stays = not one.is_preemptible and one.state != "yielding"
    name = f"{wire.TRAINING}{one.id}"
    return _Holder((name,), one.claim_bytes, stays=stays, order=(True, False, -one.age_s))


def _judged(missing: int, holders: Sequence[_Holder], max_models: int) -> _Judged:
    """Say who has to go so that `missing` bytes are free and one model more may be there."""
    over = sum(one.engines for one in holders) + 1 - max_models if max_models else 0
    staying = [one for one in holders if one.stays]
    if names := _names(one for one in staying if one.is_foe):
        return _Judged("does_not_fit", APART.format(_words(names)), names)
    able = sorted((one for one in holders if not one.stays), key=lambda one: one.order)
    if not _enough(able, 0, over):
        names = _names(one for one in staying if one.engines)
        return _Judged("does_not_fit", PLACES.format(max_models, _words(names)), names)
    if not _enough(able, missing, 0):
        left = missing - sum(one.claim_bytes for one in able)
        return _stuck(left, sorted(staying, key=lambda one: -one.claim_bytes))
    if not (going := _names(_leaving(able, missing, over))):
        return _Judged("fits", VERDICTS["fits"])
    reason = VERDICTS["fits_after_unloading"].format(_words(going))
    return _Judged("fits_after_unloading", reason, going)


def _names(holders: Iterable[_Holder]) -> list[str]:
    return [name for one in holders for name in one.names]


def _stuck(missing: int, largest_first: Sequence[_Holder]) -> _Judged:
    names = _names(_leaving(largest_first, missing, 0))
    short = not _enough(largest_first, missing, 0)
    held = STAY.format(_words([*names, OTHER_PROGRAMS] if short else names))
    return _Judged("does_not_fit", held, names)


def _leaving(able: Sequence[_Holder], missing: int, over: int) -> list[_Holder]:
    """Take foes, then others in order until it is enough; give back whom it turned out not to need."""
    chosen = [one for one in able if one.is_foe]
    for one in able:
        if not one.is_foe and not _enough(chosen, missing, over):
            chosen.append(one)
    for one in [other for other in reversed(chosen) if not other.is_foe]:
        rest = [other for other in chosen if other is not one]
        if _enough(rest, missing, over):
            chosen = rest
    return chosen


def _enough(leaving: Sequence[_Holder], missing: int, over: int) -> bool:
    freed = sum(one.claim_bytes for one in leaving)
    return freed >= missing and sum(one.engines for one in leaving) >= over


def _words(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _may_run_on(spec: wire.ModelSpec, device: str) -> bool:
    return spec.device in {"auto", device} or device.startswith(spec.device)
