"""Check every tensor of a safetensors or GGUF file by its header, before anything is loaded.

A header is a claim: sizes, offsets and shapes are believed only where they fit the file and each
other. Called by `reading`, and by who reads weights themselves; nothing of them is read here.
"""

import math
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from inference import sizes
from inference.errors import UnsafeModel
from inference.node import headers
from inference.plain_files import open_plain

MAX_TENSORS = 200_000
MAX_DIMENSIONS = 8
SAFETENSORS_BITS = {
    "F64": 64, "I64": 64, "U64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16,
    "I16": 16, "U16": 16, "I8": 8, "U8": 8, "BOOL": 8, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8,
    "F4": 4,
}  # fmt: skip
# Source: ggml's type traits: elements in a block, bytes of a block.
GGML_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    9: (32, 36), 10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210),
    15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
    21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8),
    28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
}  # fmt: skip
GGUF_ALIGNMENT = 32


Shape = tuple[str, list[int]]  # type and sizes


@dataclass(slots=True)
class Tensors:
    """What a file's header says, once it is believed."""

    parameters: int = 0
    types: Counter[str] = field(default_factory=Counter)  # parameters by type
    shapes: dict[str, Shape] = field(default_factory=dict)  # by name

    def add(self, other: "Tensors") -> None:
        self.parameters += other.parameters
        self.types += other.types
        self.shapes |= other.shapes

    @property
    def main_type(self) -> str:
        return self.types.most_common(1)[0][0] if self.types else ""


# --- safetensors ------------------------------------------------------------------------------------


def safetensors(file: Path) -> Tensors:
    """Raises: UnsafeModel; OSError."""
    header, data_bytes = _safetensors_header(file)
    found, spans = Tensors(), []
    if len(header) > MAX_TENSORS:
        raise UnsafeModel(f"{file.name} claims {len(header)} tensors")
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        kind, count, begin, end = _safetensor(file, name, tensor)
        found.parameters += count
        found.types[kind] += count
        found.shapes[name] = (kind, tensor["shape"])
        spans.append((begin, end))
    _check_spans(file, sorted(spans), data_bytes)
    return found


def shapes(file: Path) -> dict[str, Shape]:
    """Give type and shape of each tensor by its name. Raises: UnsafeModel; OSError."""
    return safetensors(file).shapes


def spans(file: Path) -> dict[str, tuple[str, int, int]]:
    """Give type, begin and end in the file of each tensor that was checked. Raises: UnsafeModel; OSError."""
    safetensors(file)
    header, data_bytes = _safetensors_header(file)
    start = file.stat().st_size - data_bytes
    header.pop("__metadata__", None)
    entries = {name: _safetensor(file, name, tensor) for name, tensor in header.items()}
    return {
        name: (kind, start + begin, start + end) for name, (kind, _, begin, end) in entries.items()
    }


def _safetensors_header(file: Path) -> tuple[dict[str, Any], int]:
    size = file.stat().st_size
    with open_plain(file) as stream:
        prefix = stream.read(8)
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or not 2 <= length <= min(headers.MAX_HEADER_BYTES, size - 8):
            raise UnsafeModel(f"{file.name} is no safetensors file, or is cut off")
        text = stream.read(length)
    try:
        header = headers.bounded_json(text, _unique)
    except ValueError as error:
        raise UnsafeModel(f"the header of {file.name} is broken: {error}") from error
    if not isinstance(header, dict):
        raise UnsafeModel(f"the header of {file.name} is no object")
    return header, size - 8 - length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name appears twice")
    return found


def _safetensor(file: Path, name: str, tensor: Any) -> tuple[str, int, int, int]:
    """Give type, elements and span of one tensor. Raises: UnsafeModel."""
    try:
        kind, shape = tensor["dtype"], tensor["shape"]
        begin, end = tensor["data_offsets"]
        bits = SAFETENSORS_BITS[kind]
    except (KeyError, TypeError, ValueError):
        raise UnsafeModel(f"{file.name}: the entry of {_shown(name)} is broken") from None
    whole = [*shape, begin, end] if isinstance(shape, list) else [-1]
    if any(type(number) is not int or not 0 <= number < 2**62 for number in whole):
        raise UnsafeModel(f"{file.name}: {_shown(name)} has impossible numbers")
    count = math.prod(shape)
    if (
        not name.isprintable()
        or len(shape) > MAX_DIMENSIONS
        or end - begin != -(-count * bits // 8)
    ):
        raise UnsafeModel(f"{file.name}: the size of {_shown(name)} does not fit its shape")
    return kind, count, begin, end


def _check_spans(file: Path, spans: list[tuple[int, int]], data_bytes: int) -> None:
    """Tensors lie one behind the other and fill the file. Raises: UnsafeModel."""
    at = 0
    for begin, end in spans:
        if begin != at:
            raise UnsafeModel(f"{file.name}: tensors overlap, or leave gaps")
        at = end
    if at != data_bytes:
        if at > data_bytes:
            raise cut_off(file, at - data_bytes)
        raise UnsafeModel(f"{file.name} holds more than its tensors: {data_bytes} bytes of {at}")


def cut_off(file: Path, missing_bytes: int) -> UnsafeModel:
    return UnsafeModel(f"{file.name} is cut off: {sizes.text(missing_bytes)} of it are missing")


# --- GGUF -------------------------------------------------------------------------------------------


def gguf(file: Path) -> Tensors:
    """Raises: UnsafeModel; OSError."""
    try:
        values, count, end = headers.gguf_metadata(file)
        with open_plain(file) as stream:
            stream.seek(end)
            return _gguf_tensors(file, stream, values, count)
    except headers.UnreadableModel as error:
        raise UnsafeModel(str(error)) from error
    except (struct.error, UnicodeDecodeError, OverflowError) as error:
        raise UnsafeModel(f"the header of {file.name} is cut off") from error


def _gguf_tensors(file: Path, stream: BinaryIO, values: dict[str, Any], count: int) -> Tensors:
    alignment = values.get("general.alignment", GGUF_ALIGNMENT)
    if type(alignment) is not int or not 1 <= alignment <= 2**16 or count > MAX_TENSORS:
        raise UnsafeModel(f"{file.name} claims {count} tensors, aligned to {alignment!r}")
    found, spans = Tensors(), []
    for _ in range(count):
        name, kind, shape, offset = _gguf_tensor(stream)
        elements = math.prod(shape)
        if kind not in GGML_BLOCKS or offset % alignment or elements >= 2**62:
            raise UnsafeModel(f"{file.name}: the entry of {_shown(name)} is broken")
        block, size = GGML_BLOCKS[kind]
        if elements % block:
            raise UnsafeModel(f"{file.name}: {_shown(name)} does not fit its type")
        if name in found.shapes or not name.isprintable():
            raise UnsafeModel(f"{file.name}: {_shown(name)} appears twice, or is no name")
        found.shapes[name] = (str(kind), shape)
        found.parameters += elements
        spans.append((offset, offset + elements // block * size))
    start = -(-stream.tell() // alignment) * alignment
    _check_gguf_spans(file, sorted(spans), file.stat().st_size - start)
    return found


def _check_gguf_spans(file: Path, spans: list[tuple[int, int]], data_bytes: int) -> None:
    """Tensors lie apart, padded, and inside the file. Raises: UnsafeModel."""
    at = 0
    for begin, end in spans:
        if begin < at:
            raise UnsafeModel(f"{file.name}: tensors overlap")
        at = end
    if spans and at > data_bytes:
        raise cut_off(file, at - data_bytes)


def _gguf_tensor(stream: BinaryIO) -> tuple[str, int, list[int], int]:
    (length,) = struct.unpack("<Q", stream.read(8))
    if length > 1024:
        raise UnsafeModel("a tensor's name is too long")
    name = stream.read(length).decode("utf-8", "replace")
    (dimensions,) = struct.unpack("<I", stream.read(4))
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise UnsafeModel(f"{_shown(name)} has {dimensions} dimensions")
    shape = struct.unpack(f"<{dimensions}Q", stream.read(8 * dimensions))
    kind, offset = struct.unpack("<IQ", stream.read(12))
    return name, kind, [*shape], offset


def _shown(name: str) -> str:
    return ascii(name[:100])
