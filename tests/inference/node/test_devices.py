"""What the machine has, inside a container's limits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from inference.node import devices


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(devices, "CGROUP", tmp_path)
    return tmp_path


def test_version_2_limits_hold(cgroup: Path) -> None:
    (cgroup / "memory.max").write_text("2000000000\n")
    (cgroup / "memory.current").write_text("1500000000\n")
    (cgroup / "memory.stat").write_text("anon 5\ninactive_file 500000000\n")
    (cgroup / "cpu.max").write_text("100000 100000\n")
    (cpu,) = devices.find("cpu")
    assert cpu.total_bytes == 2_000_000_000
    assert cpu.limit_bytes < cpu.total_bytes
    assert cpu.available_bytes <= 1_000_000_000
    assert devices.cpu_cores() == 1


def test_version_1_limits_hold(cgroup: Path) -> None:
    for folder in ("memory", "cpu"):
        (cgroup / folder).mkdir()
    (cgroup / "memory" / "memory.limit_in_bytes").write_text("3000000000\n")
    (cgroup / "memory" / "memory.usage_in_bytes").write_text("1000\n")
    (cgroup / "cpu" / "cpu.cfs_quota_us").write_text("150000\n")
    (cgroup / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    (cpu,) = devices.find("cpu")
    assert cpu.total_bytes == 3_000_000_000
    assert devices.cpu_cores() == 1


def test_no_limit_means_the_machine(cgroup: Path) -> None:
    (cgroup / "memory.max").write_text("max\n")
    (cgroup / "cpu.max").write_text("max 100000\n")
    (cpu,) = devices.find("cpu")
    assert cpu.total_bytes > cpu.limit_bytes > 0


def test_a_set_limit_is_obeyed_up_to_what_there_is() -> None:
    assert devices.find("cpu", 1_000_000)[0].limit_bytes == 1_000_000
    whole = devices.find("cpu", 1 << 62)[0]
    assert whole.limit_bytes == whole.total_bytes


def test_engines_leave_a_core_to_the_rest() -> None:
    assert [devices.engine_threads(cores) for cores in (1, 2, 8)] == [1, 1, 7]


def test_a_process_that_has_ended_holds_nothing() -> None:
    assert devices.process_memory(2**22 + 1) == 0


SMI = """#!/bin/sh
echo "NVIDIA A, 1000, 400"
echo "NVIDIA B, 2000, 1900"
"""


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver's tool that knows two GPUs."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(SMI)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.usefixtures("driver")
def test_it_finds_gpus_by_the_drivers_tool() -> None:
    _, first, second = devices.find("auto")
    assert (first.name, first.label, first.total_bytes) == ("cuda:0", "NVIDIA A", 1000 << 20)
    assert second.available_bytes == 1900 << 20
    assert len(devices.find("cpu")) == 1


@pytest.mark.usefixtures("driver")
def test_it_counts_gpus_as_the_engines_will_see_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    _, only = devices.find("auto")
    assert (only.name, only.label) == ("cuda:0", "NVIDIA B")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert len(devices.find("auto")) == 1


def test_the_most_that_a_process_held_is_told_and_can_begin_anew() -> None:
    pid, size = os.getpid(), 150_000_000
    assert devices.forget_most(pid)
    block = b"\1" * size
    held = devices.private_memory(pid)
    assert held >= size
    del block
    assert devices.most_memory(pid) >= devices.alone_memory(pid) + 0.9 * size
    assert devices.private_memory(pid) <= held - 0.9 * size
    assert devices.forget_most(pid)
    assert devices.most_memory(pid) <= devices.alone_memory(pid) + 0.1 * size


def test_nothing_is_known_of_a_process_that_is_no_more() -> None:
    done = subprocess.Popen(["/bin/true"])
    done.wait()
    assert not devices.forget_most(done.pid)
    assert devices.private_memory(done.pid) == devices.most_memory(done.pid) == 0


@pytest.mark.parametrize(
    ("said", "found"),
    [("7.5\n9.0\n", (9, 0)), ("7.5\n", None), ("[N/A]\n[N/A]\n", None)],
    ids=["two", "one only", "an old driver"],
)
def test_the_driver_tells_what_a_gpu_computes(
    said: str, found: tuple[int, int] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = tmp_path / "nvidia-smi"
    driver.write_text(f"#!/bin/sh\ncase $1 in *compute_cap*) printf '{said}';; *) exit 6;; esac\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    devices.cuda_capability.cache_clear()
    assert devices.cuda_capability("cuda:1") == found
    devices.cuda_capability.cache_clear()
