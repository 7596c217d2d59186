"""What a model will need, before it is loaded: a formula at first, the measured peak afterwards."""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from inference import wire
from inference.errors import LoadFailed
from inference.node import headers
from inference.node.devices import Device
from inference.node.eviction import Placement

MB = 2**20
# A process with the engine's libraries imported, measured on Linux x86-64.
FLOOR_BYTES = {
    "llm_gguf": 120 * MB,
    "llm_transformers": 480 * MB,
    "embed_text": 420 * MB,
    "asr_whisper": 220 * MB,
    "fake": 40 * MB,
}
USUAL_FLOOR_BYTES = 500 * MB
WEIGHTS_FACTOR = 1.05  # safetensors on a CPU: +4.3 % after the load
KV_CAP_TOKENS = 16_384  # what engines keep at first when the context is the model's own
PEAK_FACTOR = 1.03
GPU_CONTEXT_BYTES = 600 * MB


class Peaks:
    """Measured peaks by (model, engine, dtype, context, device), kept in a small file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._bytes: dict[str, int] = {}
        with contextlib.suppress(OSError, ValueError):
            self._bytes = {str(k): int(v) for k, v in json.loads(file.read_text()).items()}

    def get(self, spec: wire.ModelSpec, device: str) -> int:
        return self._bytes.get(_peak_key(spec, device), 0)

    def note(self, spec: wire.ModelSpec, device: str, size: int) -> None:
        """Keep the highest; written at once, it is rare."""
        key = _peak_key(spec, device)
        if size <= self._bytes.get(key, 0):
            return
        self._bytes[key] = size
        with contextlib.suppress(OSError):  # without the file the formula serves again
            temporary = self._file.with_suffix(".tmp")
            temporary.write_text(json.dumps(self._bytes))
            os.replace(temporary, self._file)  # noqa: PTH105


def _peak_key(spec: wire.ModelSpec, device: str) -> str:
    parts = (spec.name, spec.version, spec.engine, spec.dtype, str(spec.context_tokens), device)
    return "|".join(parts)


def placements(
    spec: wire.ModelSpec, devices: Sequence[Device], peaks: Peaks
) -> tuple[Placement, ...]:
    """Give where the model can go, the preferred place first.

    Raises: LoadFailed when its files cannot be read.
    """
    sizes = _sizes(spec)
    able = [d for d in devices if _matches(spec.device, d.name)]
    if not able:
        raise LoadFailed(f"{spec.name} wants device {spec.device!r}, which this machine has not")
    return tuple(_placement(spec, device, sizes, peaks) for device in able)


def _matches(wanted: str, name: str) -> bool:
    return wanted in {"auto", name} or (wanted == "cuda" and name.startswith("cuda"))


def _sizes(spec: wire.ModelSpec) -> headers.Sizes:
    if spec.engine == "fake":
        return headers.Sizes(int(spec.options.get("memory_bytes", 0)))
    try:
        return headers.read(Path(spec.path))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LoadFailed(f"the files of {spec.name} cannot be read: {error}") from error


def _placement(
    spec: wire.ModelSpec, device: Device, sizes: headers.Sizes, peaks: Peaks
) -> Placement:
    floor = FLOOR_BYTES.get(spec.engine, USUAL_FLOOR_BYTES)
    tokens = spec.context_tokens or min(sizes.context_tokens, KV_CAP_TOKENS)
    model = int(sizes.weights_bytes * WEIGHTS_FACTOR) + sizes.kv_bytes_per_token * tokens
    if device.name == "cpu":
        claim = {"cpu": _measured(spec, device, peaks) or floor + model}
    else:
        claim = {device.name: _measured(spec, device, peaks) or model + GPU_CONTEXT_BYTES}
        claim["cpu"] = floor
    return Placement(device.name, claim, sizes.weights_bytes, claim[device.name])


def _measured(spec: wire.ModelSpec, device: Device, peaks: Peaks) -> int:
    return int(max(peaks.get(spec, device.name), spec.memory_bytes) * PEAK_FACTOR)
