"""What this machine has: cores, memory and GPUs, inside whatever limits a container sets.

Read by the node without torch: cgroup files, psutil, and NVML or `nvidia-smi` for GPUs.
"""

import importlib
import os
import subprocess
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from inference.mapped import doubled_bytes

BF16_FLAGS = frozenset({"avx512_bf16", "amx_tile"})  # Source: arch/x86/include/asm/cpufeatures.h
CGROUP = Path("/sys/fs/cgroup")
UNLIMITED_BYTES = 1 << 60  # cgroup v1 writes a huge number for "no limit"
RESERVE_SHARE, RESERVE_MIN_BYTES = 0.1, 512 * 1024 * 1024
CUDA_RESERVE_BYTES = 512 * 1024 * 1024
CAPABILITY_QUERY = ("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader")
SMI_QUERY = (
    "nvidia-smi",
    "--query-gpu=name,memory.total,memory.free",
    "--format=csv,noheader,nounits",
)


@dataclass(frozen=True, slots=True)
class Device:
    """`limit_bytes` is what the hub may plan with; `available_bytes` what nobody uses right now."""

    name: str
    label: str
    total_bytes: int
    limit_bytes: int
    available_bytes: int


class NoGpu(Exception):
    """A GPU is asked for, and none is found."""


def cpu_cores() -> int:
    """Count the cores this process may use: affinity, then the cgroup's quota."""
    cores = float(len(os.sched_getaffinity(0)))
    quota = _cpu_quota()
    return max(1, int(min(cores, quota) if quota else cores))


@cache
def computes_bf16() -> bool:
    """Tell whether the processor computes in bfloat16, as engines ask torch."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return not BF16_FLAGS.isdisjoint(flags)


def engine_threads(cores: int | None = None) -> int:
    """Leave one core to everything else: engines that take all of them collapse under load."""
    return max(1, (cores or cpu_cores()) - 1)


def find(device: str = "auto", memory_limit_bytes: int = 0) -> list[Device]:
    """List the devices that models may use, the CPU first.

    `device` is auto, cpu or cuda. `memory_limit_bytes` caps the CPU memory; 0: what there is, less a
    reserve for everything else.
    """
    gpus = [] if device == "cpu" else _gpus()
    return [_cpu(memory_limit_bytes), *gpus]


def require(device: str) -> None:
    """Raises: NoGpu where `device` is cuda and there is none."""
    if device == "cuda" and not _gpus():
        raise NoGpu(
            "AI_HUB_DEVICE is cuda, but no NVIDIA GPU is found: install its driver (nvidia-smi must"
            " list it), or set AI_HUB_DEVICE=auto"
        )


def refresh(known: list[Device]) -> list[Device]:
    """Read again what is available; limits stay."""
    gpus = {gpu.name: gpu for gpu in _gpus()} if len(known) > 1 else {}
    now = {"cpu": available_memory(), **{name: gpu.available_bytes for name, gpu in gpus.items()}}
    return [replace(d, available_bytes=now.get(d.name, d.available_bytes)) for d in known]


def available_memory() -> int:
    """Bytes of main memory that could be taken now without swapping."""
    free: int = psutil.virtual_memory().available
    limit, used = _cgroup_memory()
    return min(free, max(0, limit - used)) if limit else free


def process_memory(pid: int) -> int:
    """Bytes of main memory a process holds; pages shared with others count in proportion.

    0 if it has ended.
    """
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return alone_memory(pid)


def alone_memory(pid: int) -> int:
    """Bytes of main memory a process holds if nobody shared its pages. 0 if it has ended."""
    return max(0, _status_bytes(pid, "VmRSS") - doubled_bytes(pid))


def most_memory(pid: int) -> int:
    """The same at its most, since it began or since `forget_most`."""
    return max(0, _status_bytes(pid, "VmHWM") - doubled_bytes(pid))


def forget_most(pid: int) -> bool:
    """Begin anew: what loading took for a moment is not what serving takes. Gives whether it could."""
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # Source: proc(5)
    except OSError:
        return False
    return True


def private_memory(pid: int) -> int:
    """Bytes that are no pages of files: the kernel cannot take them back. 0 if it has ended."""
    return _status_bytes(pid, "RssAnon", "RssShmem")


def _status_bytes(pid: int, *names: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(names))


def family(pid: int) -> set[int]:
    """Give a process and all that it has started, and they."""
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        children = []
    return {pid, *(child.pid for child in children)}


def gpu_process_memory() -> dict[tuple[int, str], int]:
    """Bytes of GPU memory by (process, device), as far as the driver tells."""
    nvml = _nvml()
    if nvml is None:
        return {}
    found: dict[tuple[int, str], int] = {}
    for name, index in _visible(nvml.nvmlDeviceGetCount()).items():
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
            found[process.pid, name] = process.usedGpuMemory or 0
    return found


# --- main memory ----------------------------------------------------------------------------------


def _cpu(memory_limit_bytes: int) -> Device:
    total: int = psutil.virtual_memory().total
    limit, _ = _cgroup_memory()
    total = min(total, limit) if limit else total
    usable = total - max(RESERVE_MIN_BYTES, int(total * RESERVE_SHARE))
    wanted = memory_limit_bytes or usable
    return Device("cpu", f"{cpu_cores()} cores", total, min(wanted, total), available_memory())


def _cgroup_memory() -> tuple[int, int]:
    """Give (limit, used) of this process's cgroup, version 2 or 1; (0, 0) without a limit."""
    for folder, limit_name, used_name in _cgroup_places():
        limit = _number(folder / limit_name)
        if 0 < limit < UNLIMITED_BYTES:
            return limit, max(0, _number(folder / used_name) - _page_cache(folder))
    return 0, 0


def _cgroup_places() -> list[tuple[Path, str, str]]:
    own = _own_cgroups()
    two = ("memory.max", "memory.current")
    one = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    leaf = CGROUP / own.get("", "").lstrip("/")
    return [
        *((folder, *two) for folder in (leaf, *leaf.parents) if folder.is_relative_to(CGROUP)),
        (CGROUP / "memory" / own.get("memory", "").lstrip("/"), *one),
        (CGROUP / "memory", *one),
    ]


def _own_cgroups() -> dict[str, str]:
    """Map controller ("" for version 2) to this process's path."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return {}
    paths = {}
    for line in lines:
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    return paths


def _page_cache(folder: Path) -> int:
    """File pages count as used by a cgroup, but are given up on demand."""
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    values = dict(line.split(" ", 1) for line in lines if " " in line)
    return int(values.get("inactive_file", values.get("total_inactive_file", "0")))


def _cpu_quota() -> float:
    """Cores by the cgroup's quota; 0.0 without one."""
    own = _own_cgroups()
    for folder in (CGROUP / own.get("", "").lstrip("/"), CGROUP):
        try:
            quota, period = (folder / "cpu.max").read_text().split()
        except (OSError, ValueError):
            continue
        if quota != "max":
            return int(quota) / int(period)
    for folder in (CGROUP / "cpu" / own.get("cpu", "").lstrip("/"), CGROUP / "cpu"):
        micros, period_us = (
            _number(folder / "cpu.cfs_quota_us"),
            _number(folder / "cpu.cfs_period_us"),
        )
        if micros > 0 and period_us > 0:
            return micros / period_us
    return 0.0


def _number(file: Path) -> int:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return 0


# --- GPUs -----------------------------------------------------------------------------------------


def _gpus() -> list[Device]:
    return _gpus_of_nvml() or _gpus_of_smi()


@cache
def cuda_capability(device: str) -> tuple[int, int] | None:
    """Give what CUDA calls the compute capability of `cuda:0`, or None where nobody can say."""
    found = _capabilities_of_nvml() or _capabilities_of_smi()
    return found.get(device if ":" in device else f"{device}:0")


def _capabilities_of_nvml() -> dict[str, tuple[int, int]]:
    nvml = _nvml()
    if nvml is None:
        return {}
    numbers = _visible(nvml.nvmlDeviceGetCount()).items()
    handles = {name: nvml.nvmlDeviceGetHandleByIndex(number) for name, number in numbers}
    told = nvml.nvmlDeviceGetCudaComputeCapability
    return {name: (told(handle)[0], told(handle)[1]) for name, handle in handles.items()}


def _capabilities_of_smi() -> dict[str, tuple[int, int]]:
    try:
        answer = subprocess.run(
            CAPABILITY_QUERY, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    lines = [line.strip().split(".") for line in answer.stdout.splitlines()]
    numbers = _visible(len(lines)).items()
    return {
        name: (int(lines[number][0]), int(lines[number][1]))
        for name, number in numbers
        if len(lines[number]) == 2 and all(map(str.isdigit, lines[number]))
    }


def _nvml() -> Any:
    """Give NVML's module, initialised, or None: it is an optional package over an optional driver."""
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # noqa: BLE001  its error class comes from the module that may be missing
        return None
    return nvml


def _gpus_of_nvml() -> list[Device]:
    nvml = _nvml()
    if nvml is None:
        return []
    found = []
    for device, index in _visible(nvml.nvmlDeviceGetCount()).items():
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory, name = nvml.nvmlDeviceGetMemoryInfo(handle), nvml.nvmlDeviceGetName(handle)
        label = name.decode() if isinstance(name, bytes) else str(name)
        found.append(_gpu(device, label, memory.total, memory.free))
    return found


def _gpus_of_smi() -> list[Device]:
    try:
        answer = subprocess.run(SMI_QUERY, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    lines = answer.stdout.splitlines()
    found = []
    for device, index in _visible(len(lines)).items():
        label, total, free = (part.strip() for part in lines[index].rsplit(",", 2))
        found.append(_gpu(device, label, int(total) << 20, int(free) << 20))
    return found


def _visible(count: int) -> dict[str, int]:
    """Map CUDA's names to the driver's numbers; engines see devices in the driver's order."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    numbers = [str(number) for number in range(count)] if chosen is None else chosen.split(",")
    able = [int(text) for text in numbers if text.strip().isdigit() and int(text) < count]
    return {f"cuda:{place}": number for place, number in enumerate(able)}


def _gpu(name: str, label: str, total: int, free: int) -> Device:
    return Device(name, label, total, max(0, total - CUDA_RESERVE_BYTES), free)
