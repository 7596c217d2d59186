"""Read a GGUF file's header: metadata and tensor sizes, without its weights.

Source: the GGUF specification, versions 2 and 3, little-endian. Every length is checked against the
file before it is believed.
"""

import mmap
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.errors import LoadFailed
from inference.plain_files import open_plain

SCALARS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
MAX_DEPTH = 4
FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K",
    11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S",
    17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS",
    23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M",
    30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4",
}  # fmt: skip  # Source: llama.h, llama_ftype
CONTROL = 3  # Source: llama.h, llama_token_attr as stored in tokenizer.ggml.token_type


@dataclass(frozen=True)
class GgufHeader:
    metadata: dict[str, Any]
    weights_bytes: int  # of all parts of a split file that lie beside it

    def of_architecture(self, key: str, default: Any = None) -> Any:
        return self.metadata.get(f"{self.metadata.get('general.architecture')}.{key}", default)

    @property
    def context_tokens(self) -> int:
        return int(self.of_architecture("context_length", 0))

    @property
    def quantization(self) -> str:
        number = self.metadata.get("general.file_type")
        return FILE_TYPES.get(number, "unknown") if isinstance(number, int) else "unknown"

    @property
    def tokens(self) -> list[str]:
        return list(self.metadata.get("tokenizer.ggml.tokens", []))

    @property
    def control_tokens(self) -> dict[int, str]:
        kinds = self.metadata.get("tokenizer.ggml.token_type", [])
        return {
            number: text
            for number, (text, kind) in enumerate(zip(self.tokens, kinds, strict=False))
            if kind == CONTROL
        }

    def kv_bytes_per_token(self, value_bytes: int = 2) -> int:
        """Return keys and values of all layers for one position; 0 where there is no such cache."""
        heads = self.of_architecture("attention.head_count", 0)
        kv_heads = self.of_architecture("attention.head_count_kv", heads)
        layers = int(self.of_architecture("block_count", 0))
        widest = max(heads) if isinstance(heads, list) else heads
        if not widest:
            return 0
        size = int(self.of_architecture("embedding_length", 0)) // widest
        per_head = int(self.of_architecture("attention.key_length", size)) + int(
            self.of_architecture("attention.value_length", size)
        )
        all_heads = sum(kv_heads) if isinstance(kv_heads, list) else kv_heads * layers
        return int(all_heads) * per_head * value_bytes


def read(path: str) -> GgufHeader:
    """Raises: LoadFailed."""
    file = Path(path)
    try:
        with (
            open_plain(file) as opened,
            mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as m,
        ):
            metadata = _Reader(m).metadata()
    except (OSError, ValueError, struct.error, RecursionError) as error:
        raise LoadFailed(f"{file.name} is not a GGUF file that can be read: {error}") from error
    parts = sorted(file.parent.glob(_parts_pattern(file.name)))
    return GgufHeader(metadata, sum(part.stat().st_size for part in parts))


def _parts_pattern(name: str) -> str:
    """Match `x-00001-of-00003.gguf` and its siblings, or just the file."""
    stem, mark, total = name.rpartition("-of-")
    return f"{stem[:-5]}?????{mark}{total}" if mark else name


class _Reader:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._at = 0

    def metadata(self) -> dict[str, Any]:
        if self._data[:4] != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        version, _tensors, count = struct.unpack_from("<IQQ", self._data, 4)
        if version not in {2, 3}:
            raise ValueError(f"version {version} is not 2 or 3")
        self._at = 24
        return dict(self._pair() for _ in range(self._counted(count, 13)))

    def _pair(self) -> tuple[str, Any]:
        key = self._string()
        return key, self._value(self._number("I"), 0)

    def _value(self, kind: int, depth: int) -> Any:
        if kind in SCALARS:
            return self._number(SCALARS[kind])
        if kind == STRING:
            return self._string()
        if kind == ARRAY and depth < MAX_DEPTH:
            return self._array(depth)
        raise ValueError(f"value type {kind} is not known")

    def _array(self, depth: int) -> list[Any]:
        kind, count = self._number("I"), self._number("Q")
        if kind in SCALARS:
            form = SCALARS[kind]
            self._counted(count, struct.calcsize("<" + form))
            values = struct.unpack_from(f"<{count}{form}", self._data, self._at)
            self._at += struct.calcsize(f"<{count}{form}")
            return list(values)
        return [self._value(kind, depth + 1) for _ in range(self._counted(count, 8))]

    def _string(self) -> str:
        size = self._counted(self._number("Q"), 1)
        start, self._at = self._at, self._at + size
        return self._data[start : self._at].decode("utf-8", errors="replace")

    def _number(self, form: str) -> Any:
        (value,) = struct.unpack_from("<" + form, self._data, self._at)
        self._at += struct.calcsize("<" + form)
        return value

    def _counted(self, count: int, least_bytes: int) -> int:
        """Refuse a count that the rest of the file cannot hold."""
        if count * least_bytes > len(self._data) - self._at:
            raise ValueError("it is cut short or damaged")
        return count
