"""Whether a model fits this node, in figures, before it is loaded. Called by the management API.

The node decides when it loads; this only says what its formula says now.
"""

from typing import Any

import msgspec

from inference import wire
from inference.errors import HubError
from inference.node import headers, memory, spread

VERDICTS = {
    "fits": "It fits beside what is loaded now.",
    "fits_after_unloading": "It fits once other models are unloaded.",
    "does_not_fit": "It does not fit, even with nothing else loaded.",
}


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


def of_shape(
    spec: wire.ModelSpec, shape: headers.Shape, state: wire.Snapshot
) -> dict[str, Any] | None:
    """Do as `of` with sizes that are known; None where the node has no device that it may run on."""
    devices = [device for device in state.devices if _may_run_on(spec, device.name)]
    verdicts = [_on(spec, shape, device, state) for device in devices]
    best = min(verdicts, key=lambda found: ORDER.index(found["verdict"]), default=None)
    if best and best["verdict"] == "does_not_fit":
        best["smaller"] = _smaller(spec, shape, state)
    return best


def _smaller(
    spec: wire.ModelSpec, shape: headers.Shape, state: wire.Snapshot
) -> list[dict[str, Any]]:
    if spec.engine != QUANTIZING or spec.options.get("quantization", "none") != "none":
        return []
    found = []
    for mode in memory.QUANTIZED_SHARES:
        options = {**spec.options, "quantization": mode}
        if judged := of_shape(msgspec.structs.replace(spec, options=options), shape, state):
            kept = {name: judged[name] for name in ("verdict", "needed_bytes", "device")}
            found.append({"quantization": mode, **kept})
    return found


def _on(
    spec: wire.ModelSpec, shape: headers.Shape, device: wire.DeviceInfo, state: wire.Snapshot
) -> dict[str, Any]:
    cuda = device.name.startswith("cuda")
    need = memory.need(spec, shape, cuda=cuda, over=spread.width(spec) if cuda else 1)
    least = need.fixed_bytes + need.kv_min_bytes  # with the shortest useful cache
    parts = [part for model in state.models for part in model.spots]
    claimed = sum(part.claim_bytes for part in parts if part.device == device.name)
    claimed += sum(one.claim_bytes for one in state.reservations if one.holds(device.name))
    free = max(0, device.limit_bytes - device.others_bytes - claimed)  # standby gives way
    wanted = max(least, min(need.bytes, device.limit_bytes))
    verdict = "fits" if wanted <= free else "fits_after_unloading"
    if least > device.limit_bytes:
        verdict = "does_not_fit"
    return {
        "smaller": [],
        "verdict": verdict,
        "reason": VERDICTS[verdict],
        "device": device.name,
        "needed_bytes": least if verdict == "does_not_fit" else wanted,
        "free_bytes": free,
        "limit_bytes": device.limit_bytes,
    }


def _may_run_on(spec: wire.ModelSpec, device: str) -> bool:
    return spec.device in {"auto", device} or device.startswith(spec.device)
