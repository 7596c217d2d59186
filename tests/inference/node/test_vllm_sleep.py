"""vLLM's sleep through a real node: a server with its paths, on a machine whose tool names one GPU.

No CUDA: what is shown is who is told what, when, and what becomes of requests and processes.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from inference import wire
from tests.inference.engines import tiny_models, tiny_vllm
from tests.inference.node.nodes import WAIT_S, Node, ask, status, text

DRIVER = """#!/bin/sh
echo "NVIDIA One, 3000, 3000"
"""
ROOM = 8_000_000_000  # of main memory: several claims of 1.5 GB
PROMPT = wire.TextPrompt(text="once upon a time")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.make(tmp_path_factory.mktemp("models") / "tiny", "llama")


@pytest.fixture
def begin(
    start: Callable[..., Node], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Node]:
    """One model has room on its GPU, and the context of another one that sleeps."""
    tool = tmp_path / "nvidia-smi"
    tool.write_text(DRIVER)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return partial(start, vllm_python=Path(tiny_vllm.__file__), memory_limit_bytes=ROOM)


def vllm(name: str, folder: Path) -> wire.ModelSpec:
    return wire.ModelSpec(
        name=name,
        kind="llm",
        engine="llm_vllm",
        path=str(folder),
        options={"enable_sleep_mode": True},
    )


def generate(spec: wire.ModelSpec) -> wire.Submit:
    body = wire.Generate(prompt=PROMPT, sampling=wire.Sampling(max_tokens=3))
    return wire.Submit(request_id="test", spec=spec, body=body)


async def answer(node: Node, spec: wire.ModelSpec) -> None:
    frames = await ask(node, generate(spec))
    assert text(frames) == "xxx", frames[-1]


async def fallen_asleep(node: Node, name: str) -> wire.ModelStatus:
    return await status(node, name, lambda model: model.state == "asleep")


def home(tmp_path: Path) -> Path:
    return tmp_path / "state" / "engine-home"


def asked(tmp_path: Path, path: str) -> list[int]:
    """Give the servers that were asked for this, in order."""
    lines = [line.split() for line in (home(tmp_path) / "asked").read_text().splitlines()]
    return [int(pid) for pid, _, what in lines if what == path]


def servers(node: Node) -> list[psutil.Process]:
    family = psutil.Process(node.process.pid).children(recursive=True)
    return [p for p in family if any("api_server" in word for word in p.cmdline())]


async def test_two_models_take_turns_on_a_gpu_that_has_room_for_one(
    begin: Callable[..., Node], folder: Path, tmp_path: Path
) -> None:
    """Each server is started once; one that dies while it is woken is started again, and nobody notices."""
    node, a, b = begin(min_residency_s=0.1), vllm("a", folder), vllm("b", folder)
    for spec in (a, b, a, b):
        await answer(node, spec)
    assert len(servers(node)) == 2
    shown = await fallen_asleep(node, "a")
    assert {part.device for part in shown.parts} == {"cuda:0", "cpu"}
    of_a, of_b, *_ = slept = asked(tmp_path, "/sleep?level=1")
    assert slept == [of_a, of_b, of_a]
    assert asked(tmp_path, "/wake_up") == [of_a, of_b]
    (home(tmp_path) / "dies_waking").touch()
    await answer(node, a)
    told = await status(node, "a", lambda model: model.state == "ready")
    assert (told.failures_total, told.loads_total) == (0, 4)
    await fallen_asleep(node, "b")
    await ask(node, wire.Unload(model="b"))
    assert len(servers(node)) == 1


async def test_a_node_that_is_killed_leaves_no_sleeper(
    begin: Callable[..., Node], folder: Path
) -> None:
    node = begin(auto_unload_timeout_s=0.5)
    await answer(node, vllm("a", folder))
    await fallen_asleep(node, "a")
    left = [*servers(node), *node.engines()]
    assert len(left) == 2
    node.process.kill()
    node.process.wait(WAIT_S)
    begin()
    _, alive = await asyncio.to_thread(psutil.wait_procs, left, WAIT_S)
    assert not alive
