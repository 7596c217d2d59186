"""What the kernel itself does not let an engine take: before the node has looked, and while it cannot."""

import asyncio
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from inference import wire
from inference.node.kernel_limits import (
    THREAD_BYTES,
    UNTOUCHED_BYTES,
    Cgroups,
    DataLimits,
    NoCgroup,
    find,
)
from inference.node.process import EngineProcess, environment, spawn
from tests import models
from tests.inference.node import nodes

MB = 1024 * 1024
ROOM = UNTOUCHED_BYTES + THREAD_BYTES
TRY = "import sys\nfor line in sys.stdin:\n try: print(len(bytearray(int(line))), flush=True)\n except MemoryError: print('refused', flush=True)\n"


@pytest.fixture
def child() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", TRY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def take(child: "subprocess.Popen[str]", size: int) -> str:
    assert child.stdin
    assert child.stdout
    child.stdin.write(f"{size}\n")
    child.stdin.flush()
    return child.stdout.readline().strip()


def test_a_process_takes_no_more_than_it_may_and_more_once_it_may(
    child: "subprocess.Popen[str]",
) -> None:
    limits, much = DataLimits(1), ROOM + 300 * MB
    with child:
        limits.hold(child.pid, 100 * MB, on_gpu=False)
        assert take(child, much) == "refused"
        assert take(child, 50 * MB) == str(50 * MB)
        limits.hold(child.pid, 500 * MB, on_gpu=False)
        assert take(child, much) == str(much)
        assert child.stdin
        child.stdin.close()


def test_what_computes_on_a_gpu_is_not_limited(child: "subprocess.Popen[str]") -> None:
    with child:
        DataLimits(1).hold(child.pid, MB, on_gpu=True)
        assert resource.prlimit(child.pid, resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY
        assert child.stdin
        child.stdin.close()


class Ear:
    """Waits for the first word of an engine."""

    def __init__(self) -> None:
        self.heard: asyncio.Future[wire.Loaded | wire.Failure] = (
            asyncio.get_running_loop().create_future()
        )

    def on_frame(self, process: EngineProcess, frame: wire.Frame) -> None:
        del process
        message = frame.decode()
        if isinstance(message, wire.Loaded | wire.Failure) and not self.heard.done():
            self.heard.set_result(message)

    def on_exit(self, process: EngineProcess) -> None:
        if not self.heard.done():
            self.heard.set_exception(AssertionError([*process.lines]))


async def refused(spec: wire.ModelSpec, size: int, folder: Path) -> wire.Failure:
    process = await spawn(spec.name, environment(1, folder))
    process.listener = ear = Ear()
    DataLimits(1).hold(process.pid, size - ROOM, on_gpu=False)
    process.send(wire.Start(spec=spec, threads=1, memory_bytes=0, kv_bytes=500 * MB))
    try:
        answer = await asyncio.wait_for(ear.heard, nodes.WAIT_S)
        assert isinstance(answer, wire.Failure)
        return answer
    finally:
        await process.stop()


@pytest.mark.models
async def test_a_real_engine_that_gets_no_more_says_so(tmp_path: Path) -> None:
    gguf = str(models.smollm2_gguf())
    spec = wire.ModelSpec(name="g", kind="llm", engine="llm_gguf", path=gguf)
    failure = await refused(spec, 350 * MB, tmp_path)
    assert failure.code == "out_of_memory"
    assert "keys, values and buffers (its process may set aside 0.4 GB)" in failure.message


@pytest.mark.models
async def test_another_real_engine_says_so_too(tmp_path: Path) -> None:
    folder = str(models.whisper_tiny_en())
    spec = wire.ModelSpec(name="w", kind="asr", engine="asr_whisper", path=folder)
    failure = await refused(spec, 250 * MB, tmp_path)
    assert failure.code == "out_of_memory"
    assert "to load it (its process may set aside 0.3 GB)" in failure.message


# --- cgroups: what is written where; the kernel of the tests has none of version 2 for memory -----------


def test_each_engine_has_a_cgroup_of_its_own(tmp_path: Path) -> None:
    limits = find(1, str(tmp_path))
    assert isinstance(limits, Cgroups)
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory"
    limits.hold(77, 5 * MB, on_gpu=False)
    limits.hold(77, 6 * MB, on_gpu=True)
    own = tmp_path / "hub-engine-77"
    told = {file.name: file.read_text() for file in own.iterdir()}
    assert told == {"cgroup.procs": "77", "memory.max": str(6 * MB), "memory.oom.group": "1"}


@pytest.mark.parametrize(("kills", "ended"), [(0, False), (1, True)])
def test_the_kernel_says_whom_it_ended_there(tmp_path: Path, kills: int, ended: bool) -> None:
    limits = Cgroups(tmp_path)
    assert not limits.has_ended(77)
    limits.hold(77, MB, on_gpu=False)
    events = f"low 0\nhigh 0\nmax 9\noom 1\noom_kill {kills}\noom_group_kill {kills}\n"
    (tmp_path / "hub-engine-77" / "memory.events").write_text(events)
    assert limits.has_ended(77) is ended


def test_a_cgroup_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(NoCgroup, match=r"AI_HUB_CGROUP is .*/none, where memory cannot be limited"):
        find(1, str(tmp_path / "none"))
