"""Sizes from the headers of model files, without an engine library: safetensors, GGUF, config.json."""

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

MAX_HEADER_BYTES = 100 * 2**20
KV_BYTES_PER_VALUE = 2  # bf16 or f16


@dataclass(frozen=True, slots=True)
class Sizes:
    """`kv_bytes_per_token` is 0 for models without a KV cache."""

    weights_bytes: int
    kv_bytes_per_token: int = 0
    context_tokens: int = 0


def read(path: Path) -> Sizes:
    """Inspect a GGUF file, or a folder in Hugging Face or CTranslate2 layout.

    Raises: OSError, ValueError with a message for the operator.
    """
    if path.is_file():
        return _gguf(path)
    weights = sum(_safetensors_bytes(file) for file in path.glob("*.safetensors"))
    weights = weights or sum(file.stat().st_size for file in path.glob("model.bin"))
    if not weights:
        raise ValueError(f"no model files in {path.name}")
    return _with_config(path / "config.json", weights)


def _safetensors_bytes(file: Path) -> int:
    """Source: the safetensors format: u64 length, JSON with `data_offsets` for each tensor."""
    with file.open("rb") as stream:
        (size,) = struct.unpack("<Q", _exactly(stream, 8))
        if size > MAX_HEADER_BYTES:
            raise ValueError(f"{file.name}: the header is too long")
        header = json.loads(_exactly(stream, size))
    ends = [v["data_offsets"][1] for name, v in header.items() if name != "__metadata__"]
    return max(ends, default=0)


def _with_config(file: Path, weights: int) -> Sizes:
    config = json.loads(file.read_text()) if file.exists() else {}
    layers = config.get("num_hidden_layers", 0)
    heads = config.get("num_attention_heads", 0)
    if not layers or not heads or "vocab_size" not in config:
        return Sizes(weights)
    width = config.get("head_dim") or config.get("hidden_size", 0) // heads
    values = 2 * layers * config.get("num_key_value_heads", heads) * width
    context = int(config.get("max_position_embeddings", 0))
    return Sizes(weights, values * KV_BYTES_PER_VALUE, context)


# --- GGUF; Source: the GGUF specification, version 3 ------------------------------------------------

_FIXED: dict[int, str] = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_STRING, _ARRAY = 8, 9


def _gguf(file: Path) -> Sizes:
    with file.open("rb") as stream:
        if _exactly(stream, 4) != b"GGUF":
            raise ValueError(f"{file.name} is no GGUF file")
        _version, _tensors, pairs = struct.unpack("<IQQ", _exactly(stream, 20))
        fields = dict(_pair(stream) for _ in range(min(pairs, 4096)))
    return _gguf_sizes(fields, file.stat().st_size)


def _gguf_sizes(fields: dict[str, Any], weights: int) -> Sizes:
    family = fields.get("general.architecture", "")
    get: Callable[[str], int] = lambda name: int(fields.get(f"{family}.{name}") or 0)  # noqa: E731
    layers, heads = get("block_count"), get("attention.head_count")
    if not layers or not heads:
        return Sizes(weights)
    kv_heads = get("attention.head_count_kv") or heads
    width = get("attention.key_length") or get("embedding_length") // heads
    return Sizes(weights, 2 * layers * kv_heads * width * KV_BYTES_PER_VALUE, get("context_length"))


def _pair(stream: BinaryIO) -> tuple[str, Any]:
    key = _string(stream).decode(errors="replace")
    (kind,) = struct.unpack("<I", _exactly(stream, 4))
    return key, _value(stream, kind)


def _value(stream: BinaryIO, kind: int) -> Any:
    if kind == _STRING:
        return _string(stream).decode(errors="replace")
    if kind == _ARRAY:
        return _skip_array(stream)
    if kind not in _FIXED:
        raise ValueError(f"GGUF value type {kind} is unknown")
    form = _FIXED[kind]
    return struct.unpack(form, _exactly(stream, struct.calcsize(form)))[0]


def _skip_array(stream: BinaryIO) -> Any:
    """Vocabularies are long and not needed here; per-layer numbers give their first."""
    kind, count = struct.unpack("<IQ", _exactly(stream, 12))
    if kind in _FIXED:
        form = _FIXED[kind]
        data = _exactly(stream, count * struct.calcsize(form))
        return struct.unpack_from(form, data)[0] if count else None
    for _ in range(count):
        _value(stream, kind)
    return None


def _string(stream: BinaryIO) -> bytes:
    (size,) = struct.unpack("<Q", _exactly(stream, 8))
    return _exactly(stream, size)


def _exactly(stream: BinaryIO, size: int) -> bytes:
    if size > MAX_HEADER_BYTES:
        raise ValueError("a header field is too long")
    data = stream.read(size)
    if len(data) < size:
        raise ValueError("the file is cut short")
    return data
