"""Whether a model fits this node, in figures, before it is loaded. Called by the management API.

The node decides when it loads; this only says what its formula says now.
"""

from typing import Any

from inference import wire
from inference.errors import HubError
from inference.node import headers, memory

VERDICTS = {
    "fits": "It fits beside what is loaded now.",
    "fits_after_unloading": "It fits once other models are unloaded.",
    "does_not_fit": "It does not fit, even with nothing else loaded.",
}


def of(spec: wire.ModelSpec, state: wire.Snapshot) -> dict[str, Any] | None:
    """Compare the claim with each device; None where the files cannot be read or it is loaded."""
    resident = {model.name for model in state.models if model.claim_bytes}
    if spec.name in resident or spec.engine in memory.WITHOUT_FILES:
        return None
    try:
        shape = headers.read(spec.path)
    except (headers.UnreadableModel, HubError, OSError):
        return None
    devices = [device for device in state.devices if _may_run_on(spec, device.name)]
    verdicts = [_on(spec, shape, device, state) for device in devices]
    order = list(VERDICTS)
    return min(verdicts, key=lambda found: order.index(found["verdict"]), default=None)


def _on(
    spec: wire.ModelSpec, shape: headers.Shape, device: wire.DeviceInfo, state: wire.Snapshot
) -> dict[str, Any]:
    need = memory.need(spec, shape, cuda=device.name.startswith("cuda"))
    least = need.fixed_bytes + need.kv_min_bytes  # with the shortest useful cache
    claimed = sum(m.claim_bytes for m in state.models if m.device == device.name)
    held = device.standby_bytes + device.others_bytes + claimed
    free = max(0, device.limit_bytes - held)
    wanted = max(least, min(need.bytes, device.limit_bytes))
    verdict = "fits" if wanted <= free else "fits_after_unloading"
    if least > device.limit_bytes:
        verdict = "does_not_fit"
    return {
        "verdict": verdict,
        "reason": VERDICTS[verdict],
        "device": device.name,
        "needed_bytes": least if verdict == "does_not_fit" else wanted,
        "free_bytes": free,
        "limit_bytes": device.limit_bytes,
    }


def _may_run_on(spec: wire.ModelSpec, device: str) -> bool:
    return spec.device in {"auto", device} or device.startswith(spec.device)
