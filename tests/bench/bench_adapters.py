"""Adapters in one batch: what they cost beside their base alone, and against peft's own mixed batch.

Then, through a whole hub: from adding a trained adapter to the first token of its answer.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import peft
import torch
from transformers import AutoModelForCausalLM

from inference import wire
from inference.engines.base import Job
from tests import servers
from tests.bench import report
from tests.bench.bench_transformers import PROMPT_TOKENS, THREADS, Ours, prompts_of
from tests.inference.engines import trained_adapter
from tests.inference.engines.driving import Answer

STREAMS, ROUNDS, ADAPTERS, RANK = 8, 3, 4, 16
NEW_TOKENS = 32
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
GOAL_PEER, GOAL_S = 1.3, 2.0
POLL_S = 0.02
FIRSTS = 3
SCOPES = {"default": {"scopes": ["models:read", "models:write", "inference"]}}
Owners = Sequence[wire.Adapter | None]


class Mixed(Ours):
    """Our engine; each stream asks for its own adapter, or for none."""

    def run(self, prompts: list[list[int]], owners: Owners) -> float:
        """Give generated tokens per second."""
        started_s = time.perf_counter()
        answers = [self._ask(*pair) for pair in zip(prompts, owners, strict=True)]
        for answer in answers:
            last = answer.wait()
            if not isinstance(last, wire.Done) or last.usage.completion_tokens != NEW_TOKENS:
                raise RuntimeError(f"ours: {last}")
        return len(prompts) * NEW_TOKENS / (time.perf_counter() - started_s)

    def _ask(self, prompt: list[int], own: wire.Adapter | None) -> Answer:
        self._stream += 1
        rules = wire.Sampling(max_tokens=NEW_TOKENS, temperature=0.0, ignore_eos=True)
        body = wire.Generate(prompt=wire.TokenPrompt(tokens=prompt), sampling=rules, adapter=own)
        answer = Answer(self._stream)
        self._engine.submit(Job(self._stream, body, answer.emit))
        return answer


class Peer:
    """Peft's model with all adapters loaded, and its batch of several of them."""

    def __init__(self, folder: Path, adapters: Sequence[wire.Adapter]) -> None:
        auto: Any = AutoModelForCausalLM
        plain = auto.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa")
        first, *others = adapters
        fixed: dict[str, Any] = {"autocast_adapter_dtype": False}  # ours computes in bf16 too
        model: Any = peft.PeftModel.from_pretrained(plain, first.path, first.name, **fixed)
        for other in others:
            model.load_adapter(other.path, other.name, **fixed)
        self._model = model.eval()

    @torch.inference_mode()
    def run(self, prompts: list[list[int]], owners: Owners) -> float:
        started_s = time.perf_counter()
        ids = torch.tensor(prompts)
        self._model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            adapter_names=[own.name if own else "__base__" for own in owners],
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
            pad_token_id=0,
        )
        return len(prompts) * NEW_TOKENS / (time.perf_counter() - started_s)


def random_adapter(folder: Path, base: Path, seed: int) -> wire.Adapter:
    auto: Any = AutoModelForCausalLM
    config = peft.LoraConfig(r=RANK, lora_alpha=RANK, target_modules=TARGETS)
    model: Any = peft.get_peft_model(auto.from_pretrained(base, dtype=torch.bfloat16), config)
    torch.manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.01)
    model.save_pretrained(str(folder))
    return wire.Adapter(name=folder.name, path=str(folder), version=str(seed))


def in_one_batch(base: Path, folder: Path) -> list[report.Row]:
    torch.set_num_threads(THREADS)
    own = [random_adapter(folder / f"a{seed}", base, seed) for seed in range(ADAPTERS)]
    mixes: dict[str, Owners] = {
        f"{ADAPTERS} adapters": [own[at % ADAPTERS] for at in range(STREAMS)],
        "half of them base, half 2 adapters": [None, own[0], None, own[1]] * (STREAMS // 4),
    }
    ours, peer = Mixed(base), Peer(base, own)
    rows = []
    try:
        for what, owners in mixes.items():
            mixed, alone, peers = _rounds(ours, peer, owners)
            title = f"{STREAMS} streams, {what}, tok/s"
            rows.append(report.compare(f"{title} (peer: the base alone)", mixed, alone))
            rows.append(report.compare(f"{title} (peer: peft)", mixed, peers, GOAL_PEER))
    finally:
        ours.close()
    return rows


def _rounds(
    ours: Mixed, peer: Peer, owners: Owners
) -> tuple[list[float], list[float], list[float]]:
    """Give tokens per second of ours with adapters, ours without, the peer; rounds alternate."""
    found: tuple[list[float], list[float], list[float]] = ([], [], [])
    for at in range(ROUNDS + 1):
        prompts = prompts_of(STREAMS, seed=at)
        taken = (
            ours.run(prompts, owners),
            ours.run(prompts_of(STREAMS, seed=100 + at), [None] * STREAMS),
            peer.run(prompts, owners),
        )
        if at:  # the first one warms up
            for figures, figure in zip(found, taken, strict=True):
                figures.append(figure)
    return found


def through_a_hub(base: Path, folder: Path) -> list[report.Row]:
    """Add the same trained adapter several times, under new names, while its base serves."""
    trained_adapter.make(folder / "keeper", base)
    row = {"name": "base", "kind": "llm", "engine": "llm_transformers", "path": str(base)}
    with servers.hub([row], keys=SCOPES, AI_HUB_IMPORT_ROOTS=str(folder)) as hub:
        servers.start(hub, "worker", "run_worker")
        headers = {"Authorization": f"Bearer {hub.key}"}
        with httpx.Client(base_url=hub.url, headers=headers, timeout=120) as client:
            _first_token(client, "base")
            waits = [_added(client, f"keeper-{at}") for at in range(FIRSTS + 1)][1:]
            warm = [_first_token(client, "keeper-1")[0] for _ in range(FIRSTS)]
    worst = statistics.median(waits)
    goal, met = f"<= {GOAL_S:.0f} s", "yes" if worst <= GOAL_S else "no"
    what = "from adding an adapter to its first token, s (peer: asked again)"
    return [report.Row(what, report.spread(waits, 2), report.spread(warm, 2), "", goal, met)]


def _added(client: httpx.Client, name: str) -> float:
    """Raises: RuntimeError where the answer is not what it was trained to say."""
    started_s = time.perf_counter()
    wanted = {"source": "adapter", "name": name, "base": "base", "path": "keeper"}
    client.post("/api/v1/models/add", json=wanted).raise_for_status()
    while client.get(f"/api/v1/models/{name}").json()["state"] != "available":
        time.sleep(POLL_S)
    waited_s = time.perf_counter() - started_s
    first_s, text = _first_token(client, name)
    if text != trained_adapter.ANSWER:
        raise RuntimeError(f"it says {text!r}")
    return waited_s + first_s


def _first_token(client: httpx.Client, model: str) -> tuple[float, str]:
    asked = [{"role": "user", "content": trained_adapter.QUESTION}]
    body = {"model": model, "messages": asked, "max_tokens": 16, "temperature": 0, "stream": True}
    started_s, first_s, text = time.perf_counter(), 0.0, ""
    with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                delta = json.loads(line[6:])["choices"][0]["delta"]
                if piece := delta.get("content"):
                    first_s = first_s or time.perf_counter() - started_s
                    text += piece
    return first_s, text


def main(base: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="adapters-") as made:
        rows = in_one_batch(base, Path(made)) + through_a_hub(base, Path(made))
    notes = [
        f"SmolLM2-135M, bf16, {THREADS} thread, {PROMPT_TOKENS} prompt and {NEW_TOKENS} new tokens per "
        f"stream, greedy; random adapters of rank {RANK} on all {len(TARGETS)} projections. The peer is "
        "peft's `generate(adapter_names=...)`, one static batch. The adapter that is added was trained "
        f"for {trained_adapter.STEPS} steps on one invented fact, which it then says word for word."
    ]
    report.save("2b-adapters", "LoRA adapters in one batch with their base", rows, notes)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
