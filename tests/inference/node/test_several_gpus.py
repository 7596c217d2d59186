"""A node on a machine that its driver's tool describes with several GPUs: real processes, the fake engine."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from inference import wire
from tests import models
from tests.inference.engines import tiny_models
from tests.inference.node import nodes
from tests.inference.node.nodes import WAIT_S, Node, ask, fake, generate, status, text

DRIVER = """#!/bin/sh
echo "NVIDIA Big, 9000, 9000"
echo "NVIDIA Small, 6000, 6000"
"""


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(DRIVER)
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def many(name: str, count: int, **options: Any) -> wire.ModelSpec:
    return msgspec.structs.replace(fake(name, **options), replicas=count)


async def all_ready(node: Node, spec: wire.ModelSpec) -> wire.ModelStatus:
    def ready(model: wire.ModelStatus) -> bool:
        return [part.state for part in model.parts] == ["ready"] * spec.replicas

    return await status(node, spec.name, ready)


@pytest.mark.usefixtures("gpus")
async def test_replicas_on_two_gpus_share_requests_and_one_outlives_the_other(
    start: Callable[..., Node],
) -> None:
    node, spec = start(), many("twin", 2, memory_bytes=1_000_000, tokens_per_s=50)
    await ask(node, wire.Load(spec=spec))
    shown = await all_ready(node, spec)
    assert [(part.replica, part.device) for part in shown.parts] == [(1, "cuda:0"), (2, "cuda:1")]
    assert shown.device == "cuda:0, cuda:1"
    assert shown.claim_bytes == sum(part.claim_bytes for part in shown.parts)
    async with node.talk() as one, node.talk() as other:
        for talk in (one, other):
            talk.send(generate(spec, "go on", 100_000))
            await talk.until(wire.Delta)
        busy = await status(node, "twin", lambda model: model.running == 2)
        assert [part.running for part in busy.parts] == [1, 1]
        victim, _ = sorted(node.engines(), key=lambda engine: engine.create_time())
        os.kill(victim.pid, signal.SIGKILL)
        done, _ = await asyncio.wait(
            [asyncio.ensure_future(talk.rest()) for talk in (one, other)],
            timeout=WAIT_S,
            return_when=asyncio.FIRST_COMPLETED,
        )
        assert [task.result()[-1].code for task in done] == ["answer_interrupted"]
        assert text(await ask(node, generate(spec, "here", 1))) == "here"
    assert len((await all_ready(node, spec)).parts) == 2
    await ask(node, wire.Unload(model="twin", force=True))
    assert not node.engines()


@pytest.mark.usefixtures("gpus")
async def test_what_if_says_which_gpu_and_why(start: Callable[..., Node]) -> None:
    node = start()
    (told,) = await ask(node, wire.Plan(spec=fake("new")))
    assert (told.device, told.choice) == ("cuda:0", "cuda:0: most memory is left free there")
    assert [(p.devices, p.verdict, p.chosen) for p in told.places] == [
        (["cuda:0"], "fits", True),
        (["cuda:1"], "fits", False),
    ]
    large = msgspec.structs.replace(fake("large"), memory_bytes=7_000_000_000)
    (told,) = await ask(node, wire.Plan(spec=large))
    assert told.choice == "cuda:0: nobody has to leave there"
    assert [place.verdict for place in told.places] == ["fits", "does_not_fit"]
    assert "cuda:1" in told.places[1].reason


@pytest.mark.usefixtures("gpus")
async def test_a_model_over_two_gpus_is_placed_on_both_and_its_server_sees_them(
    start: Callable[..., Node], tmp_path: Path
) -> None:
    """The server is a program that only writes down its environment: that is what is asked for here."""
    recorder = tmp_path / "python"
    recorder.write_text('#!/bin/sh\nenv > "$HOME/seen"\nexit 1\n')
    recorder.chmod(0o755)
    node = start(vllm_python=recorder)
    spec = wire.ModelSpec(
        name="wide",
        kind="llm",
        engine="llm_vllm",
        path=str(tiny_models.make(tmp_path / "wide", "llama")),
        options={"tensor_parallel_size": 2},
    )
    (told,) = await ask(node, wire.Plan(spec=spec))
    assert (told.verdict, told.devices) == ("fits", ["cuda:0", "cuda:1"])
    failure = (await ask(node, wire.Load(spec=spec)))[-1]
    assert "vLLM ended" in failure.message
    seen = (tmp_path / "state" / "engine-home" / "seen").read_text().splitlines()
    assert "CUDA_VISIBLE_DEVICES=0,1" in seen
    wider = msgspec.structs.replace(spec, options={"tensor_parallel_size": 3})
    failure = (await ask(node, wire.Load(spec=wider)))[-1]
    assert (failure.code, failure.message) == (
        "model_load_failed",
        "wide takes 3 GPUs at once; this node has 2 GPUs",
    )


@pytest.mark.models
async def test_two_replicas_of_a_real_model_share_main_memory(start: Callable[..., Node]) -> None:
    node = start(device="cpu")
    spec = wire.ModelSpec(
        name="smol",
        kind="llm",
        engine="llm_gguf",
        path=str(models.smollm2_gguf()),
        context_tokens=1024,
        max_concurrency=1,
        replicas=2,
    )
    assert isinstance((await ask(node, wire.Load(spec=spec)))[-1], wire.Loaded)
    shown = await all_ready(node, spec)
    assert [part.device for part in shown.parts] == ["cpu", "cpu"]
    assert all(part.memory_bytes > 98_000_000 for part in shown.parts)
    asked = generate(spec, "Once upon a time", 8)
    answers = await asyncio.gather(*(nodes.ask(node, asked) for _ in range(4)))
    assert all(text(answer) for answer in answers)
    await ask(node, wire.Unload(model="smol"))
    assert not node.engines()
