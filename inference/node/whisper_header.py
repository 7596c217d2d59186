"""Read what a Whisper of CTranslate2 will take from the table of its model.bin; used by `headers`.

Source: `ModelSpec._serialize` of CTranslate2 4. Nothing of the weights is read.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from inference.plain_files import open_plain

TABLED = range(4, 16)  # versions whose variables name their type and size
FLOATS = {0: 4, 4: 2, 5: 2}  # float32, float16 and bfloat16, by the number of their type
MAX_VARIABLES = 100_000
EMBEDDING = "decoder/embeddings/weight"


@dataclass(frozen=True, slots=True)
class Table:
    """Sums over the variables; `vocab_tokens` and `width` (of a token) are 0 where it does not say."""

    floats: int = 0
    floats_bytes: int = 0
    vocab_tokens: int = 0
    width: int = 0


def read(file: Path) -> Table:
    """A file without a table, or with one that is broken, says nothing. Raises: OSError."""
    with open_plain(file) as stream:
        try:
            (version,) = struct.unpack("<I", stream.read(4))
            if version not in TABLED:
                return Table()
            _text(stream)
            _revision, count = struct.unpack("<II", stream.read(8))
            variables = [_variable(stream) for _ in range(min(count, MAX_VARIABLES))]
        except struct.error:
            return Table()
    return _table(variables, file.stat().st_size)


def _variable(stream: BinaryIO) -> tuple[str, tuple[int, ...], int, int]:
    """Give name, shape, type and size. Raises: struct.error."""
    name = _text(stream)
    (rank,) = struct.unpack("<B", stream.read(1))
    shape = struct.unpack(f"<{rank}I", stream.read(4 * rank))
    kind, size = struct.unpack("<BI", stream.read(5))
    stream.seek(size, 1)
    return name, shape, kind, size


def _table(variables: list[tuple[str, tuple[int, ...], int, int]], most: int) -> Table:
    """What claims to be larger than the file says nothing."""
    floats = [(size, FLOATS[kind]) for _, _, kind, size in variables if kind in FLOATS]
    held = sum(size for size, _ in floats)
    embedding = next((shape for name, shape, *_ in variables if name == EMBEDDING), ())
    words, width = embedding if len(embedding) == 2 else (0, 0)
    if held > most:
        return Table()
    return Table(sum(size // element for size, element in floats), held, words, width)


def _text(stream: BinaryIO) -> str:
    """Raises: struct.error."""
    (length,) = struct.unpack("<H", stream.read(2))
    raw = stream.read(length)
    if len(raw) < length:
        raise struct.error("a text is cut off")
    return raw.rstrip(b"\0").decode(errors="replace")
