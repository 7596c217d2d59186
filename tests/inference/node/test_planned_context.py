"""Where nobody asked for a context, models leave each other room, and longer prompts are refused with it."""

from collections.abc import Callable

import msgspec
import pytest

from inference import wire
from inference.node.context import DEVICE_SHARE
from tests import models
from tests.inference.node.nodes import Node, ask

pytestmark = pytest.mark.models

LIMIT_BYTES = 800_000_000
TOKEN_BYTES = 23_040  # of SmolLM2's keys and values


def gguf(name: str, **values: object) -> wire.ModelSpec:
    path = str(models.smollm2_gguf())
    return wire.ModelSpec(name=name, kind="llm", engine="llm_gguf", path=path, **values)  # type: ignore[arg-type]


def prompt(spec: wire.ModelSpec, tokens: int) -> wire.Submit:
    rules = wire.Sampling(max_tokens=1, temperature=0.0, ignore_eos=True)
    body = wire.Generate(prompt=wire.TokenPrompt(tokens=[*range(50, 50 + tokens)]), sampling=rules)
    return wire.Submit(request_id="p", spec=spec, body=body, deadline_s=60.0)


async def test_models_live_beside_each_other(start: Callable[..., Node]) -> None:
    node = start(memory_limit_bytes=LIMIT_BYTES, device="cpu")
    first, second = gguf("first"), gguf("second")
    (planned,) = await ask(node, wire.Plan(spec=first))
    room = int(LIMIT_BYTES * DEVICE_SHARE) // TOKEN_BYTES
    assert 0.9 * room < planned.context_tokens <= room
    for spec in (first, second):
        loaded = (await ask(node, wire.Load(spec=spec, deadline_s=60.0)))[-1]
        assert loaded.context_tokens == planned.context_tokens
    async with node.talk() as talk:
        talk.send(wire.Watch(interval_s=0))
        there = await talk.next()
    assert {one.name: one.state for one in there.models} == {"first": "ready", "second": "ready"}
    assert isinstance((await ask(node, prompt(first, 40)))[-1], wire.Done)
    over = (await ask(node, prompt(first, planned.context_tokens + 1)))[-1]
    assert over.code == "context_length_exceeded"
    assert f"maximum context length is {planned.context_tokens} tokens" in over.message


async def test_a_context_that_is_set_is_there_in_full_or_refused(
    start: Callable[..., Node],
) -> None:
    node = start(memory_limit_bytes=LIMIT_BYTES, device="cpu")
    asked = gguf("asked", context_tokens=6_000, whole_context=True, max_concurrency=1)
    loaded = (await ask(node, wire.Load(spec=asked, deadline_s=60.0)))[-1]
    assert loaded.context_tokens == 6_000
    over = (await ask(node, prompt(asked, 6_001)))[-1]
    assert over.code == "context_length_exceeded"
    base = str(models.smollm2_folder())
    greedy = msgspec.structs.replace(asked, name="all", engine="llm_transformers", path=base)
    refused = (await ask(node, wire.Load(spec=greedy, deadline_s=60.0)))[-1]
    assert refused.code == "insufficient_memory"
    assert "for the 6000 tokens of context that are set take" in refused.message
