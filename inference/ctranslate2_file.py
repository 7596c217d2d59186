"""Check CTranslate2's model.bin by its own table of variables, before it is loaded. Called by `reading`.

Source: `ModelSpec._serialize` of CTranslate2 4. Nothing of the weights is read.
"""

import math
import struct
from pathlib import Path
from typing import BinaryIO

from inference.errors import UnsafeModel
from inference.plain_files import open_plain
from inference.tensors import Tensors

VERSIONS = range(1, 16)  # Source: CTranslate2 4 writes 6
VERSION_BYTES = 4
WITHOUT_TABLE = (1).to_bytes(VERSION_BYTES, "little")  # how a file of the first version begins
TABLED = 4  # the first version whose variables name their type and size
TYPES = (("F32", 4), ("I8", 1), ("I16", 2), ("I32", 4), ("F16", 2), ("BF16", 2))
MAX_VARIABLES = 100_000
MAX_DIMENSIONS = 8


def version(file: Path) -> int:
    """Give the version that the file begins with; 0 where it is none of CTranslate2's."""
    with open_plain(file) as stream:
        return version_in(stream.read(VERSION_BYTES))


def version_in(begin: bytes) -> int:
    found = int.from_bytes(begin[:VERSION_BYTES], "little")
    return found if found in VERSIONS else 0


def read(file: Path) -> Tensors:
    """Count parameters; an old file has no table that tells them. Raises: UnsafeModel; OSError."""
    found, size = Tensors(), file.stat().st_size
    with open_plain(file) as stream:
        try:
            (number,) = struct.unpack("<I", stream.read(4))
            if number < TABLED:
                return found
            _text(stream)
            _revision, count = struct.unpack("<II", stream.read(8))
            if count > MAX_VARIABLES:
                raise UnsafeModel(f"{file.name} claims {count} variables")
            for _ in range(count):
                _add(found, stream, file)
            if stream.tell() > size:
                raise UnsafeModel(f"{file.name} is cut off: {size} bytes of {stream.tell()}")
            _check_other_names(found, stream, file)
        except (struct.error, UnicodeDecodeError) as error:
            raise UnsafeModel(f"the table of {file.name} is broken or cut off") from error
        if stream.tell() != size:
            raise UnsafeModel(
                f"{file.name} holds more than its table: {size - stream.tell()} bytes"
            )
    return found


def _check_other_names(found: Tensors, stream: BinaryIO, file: Path) -> None:
    """Behind the variables are further names of some. Raises: UnsafeModel, struct.error."""
    (count,) = struct.unpack("<I", stream.read(4))
    if count > MAX_VARIABLES:
        raise UnsafeModel(f"{file.name} claims {count} further names")
    for _ in range(count):
        _text(stream)
        if (name := _text(stream)) not in found.shapes:
            raise UnsafeModel(f"{file.name} names {name[:100]!a} again, which it does not hold")


def _add(found: Tensors, stream: BinaryIO, file: Path) -> None:
    """Raises: UnsafeModel, struct.error, UnicodeDecodeError."""
    name = _text(stream)
    (rank,) = struct.unpack("<B", stream.read(1))
    if rank > MAX_DIMENSIONS:
        raise UnsafeModel(f"{file.name}: {name[:100]!a} has {rank} dimensions")
    shape = [*struct.unpack(f"<{rank}I", stream.read(4 * rank))]
    elements = math.prod(shape)
    kind, size = struct.unpack("<BI", stream.read(5))
    if kind >= len(TYPES) or elements * TYPES[kind][1] != size:
        raise UnsafeModel(f"{file.name}: the size of {name[:100]!a} does not fit its shape")
    stream.seek(size, 1)
    found.shapes[name] = (TYPES[kind][0], shape)
    if rank and not name.endswith("_scale"):  # the others are settings, and scales of integers
        found.parameters += elements
        found.types[TYPES[kind][0]] += elements


def _text(stream: BinaryIO) -> str:
    (length,) = struct.unpack("<H", stream.read(2))
    raw = stream.read(length)
    if len(raw) < length:
        raise struct.error("a text is cut off")
    return raw.rstrip(b"\0").decode()
