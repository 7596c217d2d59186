"""Whether the numbers of an adapter can be computed with, read piece by piece. Called by `arrivals`.

Finite values that make no sense are refused only where half precision cannot hold them: no training
comes near that, and below it only answers tell a strange adapter from a bad one.
"""

from pathlib import Path
from typing import Any

import numpy as np

from inference import tensors
from inference.errors import InvalidValue
from inference.plain_files import open_plain

PIECE_BYTES = 2**22  # in memory at once; a multiple of every type's size
LARGEST = 65_504.0  # Source: IEEE 754 binary16
TYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
}  # the last: a float32's upper half


def check(file: Path) -> None:
    """Raises: InvalidValue with the tensor's name; UnsafeModel; OSError."""
    found = tensors.spans(file)
    with open_plain(file) as stream:
        for name, (kind, begin, end) in found.items():
            if kind not in TYPES:
                continue
            stream.seek(begin)
            for at in range(begin, end, PIECE_BYTES):
                _judge(name, _values(kind, stream.read(min(PIECE_BYTES, end - at))))


def _values(kind: str, data: bytes) -> "np.ndarray[Any, Any]":
    found = np.frombuffer(data, TYPES[kind])
    return (found.astype("<u4") << 16).view("<f4") if kind == "BF16" else found


def _judge(name: str, values: "np.ndarray[Any, Any]") -> None:
    """Raises: InvalidValue."""
    if not values.size:
        return
    largest = float(np.abs(values).max())  # NaN where one of them is
    if not np.isfinite(largest):
        raise InvalidValue(f"`{name}` of the adapter holds what is no number (NaN or infinity)")
    if largest > LARGEST:
        raise InvalidValue(
            f"`{name}` of the adapter holds {largest:.3g}; no more than {LARGEST:.0f} can be computed"
            " with in half precision"
        )
