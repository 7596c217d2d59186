"""What this machine has: its memory, its GPUs, its cores. Asked once, when the node starts."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

CPU_SHARE, GPU_SHARE = 0.80, 0.92  # of all memory; the rest is for the system and other programs
CGROUP_MEMORY = Path("/sys/fs/cgroup/memory.max")
CGROUP_CPU = Path("/sys/fs/cgroup/cpu.max")
NVIDIA_SMI_TIMEOUT_S = 20


@dataclass(frozen=True, slots=True)
class Device:
    name: str  # cpu, cuda:0
    label: str
    total_bytes: int
    limit_bytes: int  # what the hub may use


def detect(device: str, memory_limit_bytes: int = 0) -> list[Device]:
    """Give the devices that models may use, the preferred kind first.

    `device` is auto, cpu or cuda; `memory_limit_bytes` overrides the CPU's limit.
    """
    total = machine_memory_bytes()
    limit = memory_limit_bytes or int(total * CPU_SHARE)
    cpu = Device("cpu", f"{cores()} CPU cores", total, min(limit, total))
    return [cpu] if device == "cpu" else [*gpus(), cpu]


def machine_memory_bytes() -> int:
    """Give the container's limit where there is one."""
    total = int(psutil.virtual_memory().total)
    text = _read(CGROUP_MEMORY)
    return min(total, int(text)) if text.isdigit() else total


def cores() -> int:
    """Give the cores that this process may use, from affinity and the cgroup's quota."""
    usable = len(os.sched_getaffinity(0))
    quota, _, period = _read(CGROUP_CPU).partition(" ")
    if quota.isdigit() and period.isdigit():
        usable = min(usable, max(1, int(quota) // int(period)))
    return usable


def engine_threads() -> int:
    """Give all cores but one: with all of them llama.cpp collapses when anything else runs."""
    return max(1, cores() - 1)


def gpus() -> list[Device]:
    """Ask the driver's own tool: the node never imports torch."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = "--query-gpu=index,name,memory.total"
    try:
        done = subprocess.run(
            [program, query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            check=True,
            timeout=NVIDIA_SMI_TIMEOUT_S,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [_gpu(line) for line in done.stdout.splitlines() if line.count(",") >= 2]


def _gpu(line: str) -> Device:
    index, name, mebibytes = (part.strip() for part in line.split(",", 2))
    total = int(mebibytes) * 2**20
    return Device(f"cuda:{index}", name, total, int(total * GPU_SHARE))


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
