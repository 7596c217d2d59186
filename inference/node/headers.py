"""Read what a model will take from the headers of its files: GGUF, safetensors, config.json.

No library of the models' own is needed, and no tensor is read. A header is a stranger's claim: what
is no plain number in range counts as absent, so that no claim of memory is negative or unbounded.
"""

import json
import re
import struct
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from inference.node import whisper_header
from inference.plain_files import open_plain

MAX_HEADER_BYTES = 100_000_000  # Source: the safetensors format's own limit
MAX_GGUF_ITEMS = 1_000_000
MAX_GGUF_DEPTH = 4  # arrays in arrays
MAX_CONFIG_BYTES = 32 * 2**20  # the index of a large model takes 9 MB
MAX_JSON_ITEMS = 3_000_000  # a tensor takes 15; each costs up to 60 bytes once parsed
MAX_SIZE = 2**24  # of any dimension of a network
MAX_KV_TOKEN_BYTES = 2**30
MAX_CONTEXT_TOKENS = 2**31 - 1
GGUF_NUMBERS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?"} | {
    10: "<Q",
    11: "<q",
    12: "<d",
}  # Source: ggml's gguf.md, value types
GGUF_STRING, GGUF_ARRAY = 8, 9
VOCABULARY, COUNT = "tokenizer.ggml.tokens", " count"  # how many entries an array has
KV_ELEMENT_BYTES = 2  # float16 or bfloat16
FLOAT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}  # Source: the safetensors format
WRITERS = ("CausalLM", "LMHead", "Generation")  # in the names of what keeps keys and values
OLD_NAMES = {  # Source: `attribute_map` of GPT2Config and BloomConfig
    "max_position_embeddings": "n_positions",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "hidden_size": "n_embd",
}
OPEN_CLIP, WHISPER = "open_clip_config.json", "model.bin"
INDEX = "model.safetensors.index.json"
SPLIT = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")
PLAIN = re.compile(r"embed|lm_head|wte|wpe")


class UnreadableModel(ValueError):
    """The files are no model that we know; the message says which file and why."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What memory depends on. `kv_token_bytes` is 0 for models without a KV cache."""

    weights_bytes: int
    kv_token_bytes: int = 0
    context_tokens: int = 0
    plain_bytes: int = 0  # of the weights, those that no engine quantizes: embeddings and head
    family: str = ""  # `model_type` of a folder's config
    vocab_tokens: int = 0
    width: int = 0  # of a token inside a layer: hidden and intermediate size together
    floats: int = 0  # weights that an engine may keep in another number format, and
    floats_bytes: int = 0  # what they take in the file

    def weights_as(self, element_bytes: int) -> int:
        """Give the weights' size in a format of so many bytes; 0: as they are in the file."""
        if not element_bytes:
            return self.weights_bytes
        return self.weights_bytes - self.floats_bytes + self.floats * element_bytes


def read(path: str) -> Shape:
    """Raises: UnreadableModel; OSError."""
    place = Path(path)
    if place.is_dir():
        return _folder(place)
    if place.suffix == ".gguf":
        return _gguf(place)
    return Shape(place.stat().st_size)


def bounded_json(data: bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """Parse, unless it would take far more memory than it has bytes. Raises: ValueError."""
    if sum(data.count(mark) for mark in b",[{") > MAX_JSON_ITEMS:
        raise ValueError("it holds too many items")
    try:
        return json.loads(data.decode(), object_pairs_hook=pairs)  # as every library reads it
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def whole(value: object, most: int = MAX_SIZE) -> int:
    """Believe a positive number in range; anything else is as if it were not there: 0."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if type(value) is int and 0 < value <= most else 0


def _token_bytes(layers: int, kv_heads: int, both: int, file: Path) -> int:
    """Raises: UnreadableModel."""
    size = layers * kv_heads * both * KV_ELEMENT_BYTES
    if size > MAX_KV_TOKEN_BYTES:
        raise UnreadableModel(f"{file.name} claims {size} bytes of keys and values per token")
    return size


# --- Hugging Face and CTranslate2 folders -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the tensors of one or more files; the last two of those in 16, 32 or 64 bits."""

    total_bytes: int = 0
    plain_bytes: int = 0  # embeddings and head
    floats: int = 0
    floats_bytes: int = 0

    def __add__(self, other: "Sizes") -> "Sizes":
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Sizes(*(mine + theirs for mine, theirs in pairs))


def safetensors_sizes(file: Path) -> Sizes:
    """Read the header only. Raises: UnreadableModel."""
    with open_plain(file) as stream:
        prefix = stream.read(8)
        size = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or size > min(MAX_HEADER_BYTES, file.stat().st_size):
            raise UnreadableModel(f"{file.name} is no safetensors file")
        try:
            header: dict[str, Any] = bounded_json(stream.read(size))
            tensors = [_tensor(k, v) for k, v in header.items() if k != "__metadata__"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnreadableModel(f"the header of {file.name} is broken: {error}") from error
    return sum(tensors, Sizes())


def _tensor(name: str, entry: dict[str, Any]) -> Sizes:
    """Raises: ValueError, KeyError, TypeError."""
    size = _span(*entry["data_offsets"])
    element = FLOAT_BYTES.get(str(entry.get("dtype")), 0)
    plain = size if PLAIN.search(name) else 0
    return Sizes(size, plain, size // element, size) if element else Sizes(size, plain)


def _span(begin: object, end: object) -> int:
    """Raises: ValueError."""
    if type(begin) is not int or type(end) is not int or not 0 <= begin <= end < 2**62:
        raise ValueError("a tensor has impossible offsets")
    return end - begin


def weight_files(folder: Path) -> list[Path]:
    """Give the files that are loaded: others repeat them in another layout or number format."""
    there = sorted(folder.glob("*.safetensors"))
    plain = (folder / "config.json").is_file()
    taken = loaded([file.name for file in there], shards(config_of(folder / INDEX)), plain=plain)
    return [file for file in there if file.name in taken]


def shards(index: dict[str, Any]) -> frozenset[str]:
    """Give the files that an index names; none where it is no index."""
    named = index.get("weight_map")
    return frozenset(map(str, named.values())) if isinstance(named, dict) else frozenset()


def loaded(names: list[str], indexed: frozenset[str], *, plain: bool) -> list[str]:
    """Of a folder's safetensors files, give those that count. `plain`: it has a config.json."""
    if indexed:
        return [name for name in names if name in indexed]
    first = ("model.safetensors", "open_clip_model.safetensors")
    found = [name for name in (first if plain else first[::-1]) if name in names]
    return found[:1] or names


def _folder(folder: Path) -> Shape:
    sizes = sum((safetensors_sizes(file) for file in weight_files(folder)), Sizes())
    if not sizes.total_bytes and (folder / WHISPER).is_file():
        return _whisper(folder / WHISPER)
    weights = sizes.total_bytes or sum(file.stat().st_size for file in folder.glob("*.bin"))
    if not weights:
        raise UnreadableModel(f"{folder.name} holds neither *.safetensors nor model.bin")
    file = folder / "config.json"
    config = _config(file) or _open_clip(folder / OPEN_CLIP)
    return Shape(
        weights,
        _kv_token_bytes(config, file),
        _named(config, "max_position_embeddings", MAX_CONTEXT_TOKENS),
        sizes.plain_bytes,
        str(config.get("model_type", "")),
        whole(config.get("vocab_size")),
        _named(config, "hidden_size") + whole(config.get("intermediate_size")),
        sizes.floats,
        sizes.floats_bytes,
    )


def _whisper(file: Path) -> Shape:
    table = whisper_header.read(file)
    return Shape(
        file.stat().st_size,
        family="whisper",
        vocab_tokens=whole(table.vocab_tokens),
        width=whole(table.width),
        floats=table.floats,
        floats_bytes=table.floats_bytes,
    )


def _open_clip(file: Path) -> dict[str, Any]:
    """Give what a config of open_clip says in the words of a Hugging Face config."""
    model = _config(file).get("model_cfg")
    text = model.get("text_cfg") if isinstance(model, dict) else None
    text = text if isinstance(text, dict) else {}
    return {"model_type": "open_clip", "vocab_size": text.get("vocab_size")} if model else {}


def config_of(file: Path) -> dict[str, Any]:
    """Give the object in a JSON file; what is none, or too large, is as if it were not there."""
    try:
        with open_plain(file) as stream:
            return object_in(stream.read(MAX_CONFIG_BYTES + 1))
    except OSError:
        return {}


def object_in(data: bytes) -> dict[str, Any]:
    """Give a JSON object; what is none, or too large, is an empty one."""
    try:
        found = bounded_json(data) if len(data) <= MAX_CONFIG_BYTES else None
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _config(file: Path) -> dict[str, Any]:
    loaded = config_of(file)
    text = loaded.get("text_config")
    if not isinstance(text, dict):
        return loaded
    return {**text, "architectures": text.get("architectures") or loaded.get("architectures")}


def _named(config: dict[str, Any], name: str, most: int = MAX_SIZE) -> int:
    """Read a size by its usual name, or by that of an older family."""
    return whole(config.get(name), most) or whole(config.get(OLD_NAMES[name]), most)


def architectures(config: dict[str, Any]) -> list[str]:
    names = config.get("architectures")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _kv_token_bytes(config: dict[str, Any], file: Path) -> int:
    """Bytes of keys and values per token: 2 x layers x kv heads x head size x element size.

    Raises: UnreadableModel.
    """
    names = architectures(config)
    if not any(mark in name for name in names for mark in WRITERS):
        return 0
    keys = ("num_hidden_layers", "num_attention_heads", "hidden_size")
    layers, heads, hidden = (_named(config, key) for key in keys)
    if not (layers and heads and hidden):
        return 0
    head = whole(config.get("head_dim")) or hidden // heads
    kv_heads = whole(config.get("num_key_value_heads")) or heads
    return _token_bytes(layers, kv_heads, 2 * head, file)


# --- GGUF ---------------------------------------------------------------------------------------------


def _gguf(file: Path) -> Shape:
    values = gguf_numbers(file)
    kind = str(values.get("general.architecture", ""))

    def number(key: str, most: int = MAX_SIZE) -> int:
        return whole(values.get(f"{kind}.{key}"), most)

    heads = number("attention.head_count")
    head = number("embedding_length") // heads if heads else 0
    both = (number("attention.key_length") or head) + (number("attention.value_length") or head)
    kv_heads = number("attention.head_count_kv") or heads
    token_bytes = _token_bytes(number("block_count"), kv_heads, both, file)
    context = number("context_length", MAX_CONTEXT_TOKENS)
    if not context and values.get(f"{kind}.context_length"):  # llama.cpp would end on it
        raise UnreadableModel(f"{file.name} says that its context is of an impossible length")
    width = number("embedding_length") + number("feed_forward_length")
    vocab = whole(values.get(f"{VOCABULARY}{COUNT}")) or number("vocab_size")
    return Shape(_gguf_files_bytes(file), token_bytes, context, 0, "", vocab, width)


def _gguf_files_bytes(file: Path) -> int:
    """A split model is loaded by its first part; all parts count."""
    stem, _, rest = file.name.rpartition("-00001-of-")
    parts = [*file.parent.glob(f"{stem}-*-of-{rest}")] if stem else [file]
    return sum(part.stat().st_size for part in parts)


def gguf_numbers(file: Path) -> dict[str, int | float | str]:
    """Read the scalar metadata; of an array, how many entries it has. Raises: UnreadableModel."""
    return gguf_metadata(file)[0]


def gguf_metadata(file: Path) -> tuple[dict[str, int | float | str], int, int]:
    """Give the scalar metadata, how many tensors there are, and where their entries begin.

    Raises: UnreadableModel.
    """
    with open_plain(file) as stream:
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
            found[key + COUNT] = _skip_array(stream)
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


def _skip_array(stream: BinaryIO, depth: int = 1) -> int:
    """Give how many entries it has."""
    if depth > MAX_GGUF_DEPTH:
        raise UnreadableModel("arrays nested too deeply in a GGUF header")
    kind, count = struct.unpack("<IQ", stream.read(12))
    if kind in GGUF_NUMBERS:
        _skip(stream, struct.calcsize(GGUF_NUMBERS[kind]) * count)
        return int(count)
    if count > 10 * MAX_GGUF_ITEMS:
        raise UnreadableModel(f"an array of {count} entries in a GGUF header")
    for _ in range(count):
        if kind == GGUF_STRING:
            (size,) = struct.unpack("<Q", stream.read(8))
            _skip(stream, size)
        else:
            _skip_array(stream, depth + 1)
    return int(count)


def _skip(stream: BinaryIO, size: int) -> None:
    if size > MAX_HEADER_BYTES:
        raise UnreadableModel(f"an entry of {size} bytes in a GGUF header")
    stream.seek(size, 1)
