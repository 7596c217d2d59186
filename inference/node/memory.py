"""What a model will take: a formula from its files' headers, then the truth as it was measured.

`claims` is asked once per spec; `Peaks` remembers measured needs in a file of the node's state folder.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from inference import wire
from inference.errors import InvalidValue, LoadFailed
from inference.node.devices import Device
from inference.node.eviction import Placement
from inference.node.headers import Shape, UnreadableModel, read

MB = 1024 * 1024
GIB = 1024 * MB
FLOORS_BYTES = {
    # What a process takes before its first weight. Source: measured, see DESIGN.md.
    "fake": 40 * MB,
    "remote_openai": 90 * MB,
    "llm_gguf": 150 * MB,
    "asr_whisper": 200 * MB,
    "embed_text": 450 * MB,
    "embed_clip": 500 * MB,
    "llm_transformers": 550 * MB,
    "llm_vllm": 2_400 * MB,
    "vlm_transformers": 450 * MB,
}
FLOOR_BYTES = 500 * MB
WITHOUT_FILES = frozenset({"fake", "remote_openai"})
CUDA_HOST_FLOOR_BYTES = 1_500 * MB  # libraries, context and pinned buffers in main memory
CUDA_FLOOR_BYTES = 600 * MB  # context and kernels on the device
ACTIVATIONS_BYTES = 200 * MB
QUANTIZED_SHARES = {"int8": 0.51, "nf4": 0.27}  # of 16-bit weights, scales included
PACKED_WHILE_READ = frozenset({"llama", "mistral", "qwen2", "qwen3"})  # others are read whole first
KV_SHARES = {"q8_0": 17 / 32}  # of 16 bits: 34 bytes for 32 numbers
WEIGHTS_MARGIN = 1.05  # measured after load: 4.3 % above the header's sum
USUAL_CONTEXT_TOKENS = 4096
KV_REQUESTS = 8  # running requests that the KV memory is planned for
KV_REQUEST_TOKENS = 2048  # of each of them
FEW_CONCURRENT = 4  # llama.cpp shares one context among its slots


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes on the model's own device; the KV part may shrink down to `kv_min_bytes`."""

    fixed_bytes: int
    kv_bytes: int
    kv_min_bytes: int
    weights_bytes: int

    @property
    def bytes(self) -> int:
        return self.fixed_bytes + self.kv_bytes


class Peaks:
    """Measured needs by (model and version, engine, dtype, context, device); survives restarts.

    The version stands for the options: they may hold a key of another server, and this is a file.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = _load(file)

    def get(self, spec: wire.ModelSpec, device: str) -> int:
        return self._known.get(_key(spec, device), 0)

    def remember(self, spec: wire.ModelSpec, device: str, size: int) -> None:
        """Keep the largest; written at once, by rename, when it grew noticeably."""
        key = _key(spec, device)
        if size <= self._known.get(key, 0) * 1.01:
            return
        self._known[key] = size
        draft = self._file.with_suffix(".new")
        draft.write_text(json.dumps(self._known, indent=1, sort_keys=True))
        draft.replace(self._file)


def placements(spec: wire.ModelSpec, devices: Sequence[Device], peaks: Peaks) -> list[Placement]:
    """List where the model may go, the preferred device first. Reads file headers: call in a thread.

    Raises: LoadFailed if its files cannot be read, InvalidValue for a device that is not there.
    """
    shape = _shape(spec)
    return [_placement(spec, shape, device, peaks) for device in _devices(spec, devices)]


def need(spec: wire.ModelSpec, shape: Shape, *, cuda: bool) -> Need:
    """Formula: floor + weights x 1.05 + activations + adapters + KV per token x planned tokens."""
    floor = CUDA_FLOOR_BYTES if cuda else FLOORS_BYTES.get(spec.engine, FLOOR_BYTES)
    extra = int(spec.options.get("memory_bytes", 0)) if spec.engine == "fake" else 0
    activations = ACTIVATIONS_BYTES if shape.weights_bytes else 0
    own = shape.context_tokens or USUAL_CONTEXT_TOKENS
    context = min(spec.context_tokens or own, own)
    planned = max(context, min(spec.max_concurrency, KV_REQUESTS) * min(context, KV_REQUEST_TOKENS))
    least = min(context, KV_REQUEST_TOKENS)
    token_bytes = int(shape.kv_token_bytes * KV_SHARES.get(str(spec.options.get("kv_type")), 1.0))
    kv_bytes, kv_min_bytes = token_bytes * planned, token_bytes * least
    if spec.engine == "llm_vllm":  # it counts whole GiB on a CPU
        kv_bytes, kv_min_bytes = max(GIB, kv_bytes), max(GIB, kv_min_bytes)
    kept = int(_kept_bytes(spec, shape) * WEIGHTS_MARGIN)
    return Need(
        fixed_bytes=floor + extra + activations + spec.adapters_bytes + kept,
        kv_bytes=kv_bytes,
        kv_min_bytes=kv_min_bytes,
        weights_bytes=shape.weights_bytes,
    )


def _kept_bytes(spec: wire.ModelSpec, shape: Shape) -> int:
    """Give the most that is held of the weights while and after they are quantized."""
    if shape.family not in PACKED_WHILE_READ:
        return shape.weights_bytes
    share = QUANTIZED_SHARES.get(str(spec.options.get("quantization")), 1.0)
    return shape.plain_bytes + int((shape.weights_bytes - shape.plain_bytes) * share)


def settled(
    placement: Placement, loaded: wire.Loaded, measured: Mapping[str, int]
) -> dict[str, int]:
    """Reconcile a claim with the truth after a load.

    What the engine has still to grow into stays reserved: its KV memory when it names it, else
    everything that it was allowed.
    """
    if loaded.device == "cpu" and placement.device != "cpu":  # its library has no GPU build
        return {"cpu": max(loaded.memory_bytes, measured.get("cpu", 0), placement.allowance_bytes)}
    claim = {}
    for device, planned in placement.claim.items():
        seen = measured.get(device, 0)
        if device == placement.device:
            seen = max(seen, loaded.memory_bytes)
            rest = loaded.weights_bytes + loaded.kv_bytes if loaded.kv_bytes else planned
            claim[device] = max(seen, rest)
        else:
            claim[device] = max(seen, planned)
    return claim


def _placement(spec: wire.ModelSpec, shape: Shape, device: Device, peaks: Peaks) -> Placement:
    cuda = device.name.startswith("cuda")
    wanted = need(spec, shape, cuda=cuda)
    allowance = wanted.bytes
    if allowance > device.limit_bytes:
        room = device.limit_bytes - wanted.fixed_bytes
        allowance = wanted.fixed_bytes + max(wanted.kv_min_bytes, min(room, wanted.kv_bytes))
    measured = peaks.get(spec, device.name) or spec.memory_bytes
    claim = {device.name: max(allowance, measured)}
    if cuda:
        claim["cpu"] = CUDA_HOST_FLOOR_BYTES
    return Placement(device.name, claim, wanted.weights_bytes, allowance)


def _devices(spec: wire.ModelSpec, devices: Sequence[Device]) -> list[Device]:
    gpus = sorted(
        (d for d in devices if d.name.startswith("cuda")), key=lambda d: -d.available_bytes
    )
    if spec.device == "cpu" or (spec.device == "auto" and not gpus):
        return [d for d in devices if d.name == "cpu"]
    found = [g for g in gpus if spec.device in {"auto", "cuda", g.name}]
    if not found:
        names = ", ".join(d.name for d in devices)
        raise InvalidValue(
            f"{spec.name} asks for {spec.device}; this node has {names}", param="model"
        )
    return found


def _shape(spec: wire.ModelSpec) -> Shape:
    if spec.engine in WITHOUT_FILES:
        return Shape(0)
    if not spec.path or not Path(spec.path).exists():
        raise LoadFailed(f"the files of {spec.name} are not there: {spec.path or 'no path'}")
    try:
        return read(spec.path)
    except (UnreadableModel, OSError) as error:
        raise LoadFailed(f"{spec.name} cannot be loaded: {error}") from error


def _key(spec: wire.ModelSpec, device: str) -> str:
    context = f"{spec.context_tokens}x{spec.max_concurrency}"
    return "|".join((spec.key, spec.engine, spec.dtype, context, device))


def _load(file: Path) -> dict[str, int]:
    try:
        loaded = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(loaded, dict):
        return {}
    return {str(key): size for key, size in loaded.items() if isinstance(size, int)}
