"""Read what a model will take from the headers of its files: GGUF, safetensors, config.json.

No library of the models' own is needed, and no tensor is read.
"""

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

MAX_HEADER_BYTES = 100_000_000  # Source: the safetensors format's own limit
MAX_GGUF_ITEMS = 1_000_000
GGUF_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?"} | {
    10: "<Q",
    11: "<q",
    12: "<d",
}  # Source: ggml's gguf.md, value types
GGUF_STRING, GGUF_ARRAY = 8, 9
KV_ELEMENT_BYTES = 2  # float16 or bfloat16


class UnreadableModel(ValueError):
    """The files are no model that we know; the message says which file and why."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What memory depends on. `kv_token_bytes` is 0 for models without a KV cache."""

    weights_bytes: int
    kv_token_bytes: int = 0
    context_tokens: int = 0


def read(path: str) -> Shape:
    """Raises: UnreadableModel; OSError."""
    place = Path(path)
    if place.is_dir():
        return _folder(place)
    if place.suffix == ".gguf":
        return _gguf(place)
    return Shape(place.stat().st_size)


# --- Hugging Face and CTranslate2 folders -----------------------------------------------------------


def safetensors_bytes(file: Path) -> int:
    """Sum the tensors' sizes by the header. Raises: UnreadableModel."""
    with file.open("rb") as stream:
        prefix = stream.read(8)
        size = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or size > min(MAX_HEADER_BYTES, file.stat().st_size):
            raise UnreadableModel(f"{file.name} is no safetensors file")
        try:
            header: dict[str, Any] = json.loads(stream.read(size))
            spans = [v["data_offsets"] for k, v in header.items() if k != "__metadata__"]
            return sum(int(end) - int(begin) for begin, end in spans)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnreadableModel(f"the header of {file.name} is broken: {error}") from error


def _folder(folder: Path) -> Shape:
    files = sorted(folder.glob("*.safetensors"))
    weights = sum(safetensors_bytes(file) for file in files)
    if not weights:
        weights = sum(file.stat().st_size for file in folder.glob("*.bin"))
    if not weights:
        raise UnreadableModel(f"{folder.name} holds neither *.safetensors nor model.bin")
    config = _config(folder / "config.json")
    return Shape(weights, _kv_token_bytes(config), int(config.get("max_position_embeddings") or 0))


def _config(file: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(loaded, dict):
        return {}
    text = loaded.get("text_config")
    if not isinstance(text, dict):
        return loaded
    return {**text, "architectures": text.get("architectures") or loaded.get("architectures")}


def _kv_token_bytes(config: dict[str, Any]) -> int:
    """Bytes of keys and values per token: 2 x layers x kv heads x head size x element size."""
    if not any(
        "CausalLM" in str(a) or "Generation" in str(a) for a in config.get("architectures") or []
    ):
        return 0
    layers, heads = config.get("num_hidden_layers"), config.get("num_attention_heads")
    hidden = config.get("hidden_size")
    if not (isinstance(layers, int) and isinstance(heads, int) and isinstance(hidden, int)):
        return 0
    head = config.get("head_dim") or hidden // max(1, heads)
    return int(2 * layers * (config.get("num_key_value_heads") or heads) * head * KV_ELEMENT_BYTES)


# --- GGUF ---------------------------------------------------------------------------------------------


def _gguf(file: Path) -> Shape:
    values = gguf_numbers(file)
    kind = str(values.get("general.architecture", ""))

    def number(key: str) -> int:
        value = values.get(f"{kind}.{key}", 0)
        return int(value) if isinstance(value, int | float) else 0

    heads = number("attention.head_count")
    head = number("embedding_length") // heads if heads else 0
    both = (number("attention.key_length") or head) + (number("attention.value_length") or head)
    kv_heads = number("attention.head_count_kv") or heads
    token_bytes = number("block_count") * kv_heads * both * KV_ELEMENT_BYTES
    return Shape(_gguf_files_bytes(file), token_bytes, number("context_length"))


def _gguf_files_bytes(file: Path) -> int:
    """A split model is loaded by its first part; all parts count."""
    stem, _, rest = file.name.rpartition("-00001-of-")
    parts = [*file.parent.glob(f"{stem}-*-of-{rest}")] if stem else [file]
    return sum(part.stat().st_size for part in parts)


def gguf_numbers(file: Path) -> dict[str, int | float | str]:
    """Read the scalar metadata, skipping arrays. Raises: UnreadableModel."""
    return gguf_metadata(file)[0]


def gguf_metadata(file: Path) -> tuple[dict[str, int | float | str], int, int]:
    """Give the scalar metadata, how many tensors there are, and where their entries begin.

    Raises: UnreadableModel.
    """
    with file.open("rb") as stream:
        if stream.read(4) != b"GGUF":
            raise UnreadableModel(f"{file.name} is no GGUF file")
        try:
            version, tensors, count = struct.unpack("<IQQ", stream.read(20))
            if not 2 <= version <= 3 or count > MAX_GGUF_ITEMS:
                raise UnreadableModel(f"{file.name} has GGUF version {version}, {count} entries")
            return _gguf_entries(stream, count), tensors, stream.tell()
        except (struct.error, KeyError, UnicodeDecodeError, OverflowError) as error:
            raise UnreadableModel(f"the header of {file.name} is broken: {error!r}") from error


def _gguf_entries(stream: BinaryIO, count: int) -> dict[str, int | float | str]:
    found: dict[str, int | float | str] = {}
    for _ in range(count):
        key = _gguf_string(stream)
        (kind,) = struct.unpack("<I", stream.read(4))
        if kind == GGUF_ARRAY:
            _skip_array(stream)
        elif kind == GGUF_STRING:
            found[key] = _gguf_string(stream)
        else:
            found[key] = _gguf_number(stream, GGUF_NUMBERS[kind])
    return found


def _gguf_number(stream: BinaryIO, form: str) -> int | float:
    value: int | float = struct.unpack(form, stream.read(struct.calcsize(form)))[0]
    return value


def _gguf_string(stream: BinaryIO) -> str:
    (size,) = struct.unpack("<Q", stream.read(8))
    if size > MAX_HEADER_BYTES:
        raise UnreadableModel(f"a text of {size} bytes in a GGUF header")
    return stream.read(size).decode("utf-8", "replace")


def _skip_array(stream: BinaryIO) -> None:
    kind, count = struct.unpack("<IQ", stream.read(12))
    if kind in GGUF_NUMBERS:
        _skip(stream, struct.calcsize(GGUF_NUMBERS[kind]) * count)
        return
    if count > 10 * MAX_GGUF_ITEMS:
        raise UnreadableModel(f"an array of {count} entries in a GGUF header")
    for _ in range(count):
        if kind == GGUF_STRING:
            (size,) = struct.unpack("<Q", stream.read(8))
            _skip(stream, size)
        else:
            _skip_array(stream)


def _skip(stream: BinaryIO, size: int) -> None:
    if size > MAX_HEADER_BYTES:
        raise UnreadableModel(f"an entry of {size} bytes in a GGUF header")
    stream.seek(size, 1)
