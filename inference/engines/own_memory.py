"""Memory that goes back to the system as soon as it is let go of; used for keys and values.

A heap keeps what lies between blocks that stay: tables that grow beside short-lived tensors left up to a
third of their size behind.
"""

import math
import mmap
from collections.abc import Sequence

import torch
from torch import Tensor

LEAST_BYTES = 1024 * 1024  # smaller ones are the heap's


def zeros(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Give zeros, all of them there already: what is counted is what is held. Raises: MemoryError."""
    size = math.prod(shape) * dtype.itemsize
    if device.type != "cpu" or size < LEAST_BYTES:
        return torch.zeros(shape, dtype=dtype, device=device)
    try:
        memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"{size} bytes of keys or values: {error}") from error
    return torch.frombuffer(memory, dtype=dtype).view(*shape).zero_()
