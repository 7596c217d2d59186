"""What a model really takes: resident memory on a CPU, the device's lost free memory on CUDA."""

import ctypes

import psutil

from inference.mapped import doubled_bytes


class Footprint:
    """Start before anything is loaded; `bytes` afterwards."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._resident_bytes = psutil.Process().memory_info().rss
        self._free_bytes = _cuda_free_bytes(device)

    @property
    def grown_bytes(self) -> int:
        """Return what came on top since the start: mostly the weights."""
        if self._device.startswith("cuda"):
            return max(0, self._free_bytes - _cuda_free_bytes(self._device))
        return max(0, int(psutil.Process().memory_info().rss) - self._resident_bytes)

    @property
    def total_bytes(self) -> int:
        """Return what this process holds on its device, once the allocator gave back what is free."""
        _trim()
        if self._device.startswith("cuda"):
            return self.grown_bytes
        return int(psutil.Process().memory_info().rss) - doubled_bytes()


def _trim() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's; measured: 40 to 140 MB
    if trim is not None:
        trim(0)


def _cuda_free_bytes(device: str) -> int:
    if not device.startswith("cuda"):
        return 0
    import torch  # noqa: PLC0415  heavy, and only CUDA needs it

    return int(torch.cuda.mem_get_info(device)[0])
