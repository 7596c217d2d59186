"""The transformers engine against transformers' own ContinuousBatchingManager, interleaved.

Same process, weights, number format (bf16), threads and prompts; greedy; 64 new tokens each.
"""

import random
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig

from inference import wire
from inference.engines.base import Job, Setting
from inference.engines.llm_transformers import LlmTransformers
from tests.bench import report
from tests.inference.engines.driving import Answer

GOALS = {1: 1.0, 8: 1.3, 32: 1.5}  # streams: least ratio
PROMPT_TOKENS, NEW_TOKENS, THREADS = 32, 64, 1
ROUNDS = {1: 7, 8: 5, 32: 5}
PEER = ContinuousBatchingConfig(num_blocks=80, page_size=128, max_batch_tokens=512)
WAIT_S = 600.0

Burst = Callable[[list[list[int]]], None]


@dataclass
class Figures:
    """Generated tokens per second of wall time and of CPU time, a figure per round."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def take(self, burst: Burst, prompts: list[list[int]]) -> None:
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        burst(prompts)
        tokens = len(prompts) * NEW_TOKENS
        self.wall.append(tokens / (time.perf_counter() - wall_s))
        self.cpu.append(tokens / (time.process_time() - cpu_s))


class Ours:
    def __init__(self, folder: Path) -> None:
        self._engine = LlmTransformers()
        spec = wire.ModelSpec(
            name="bench", kind="llm", engine="llm_transformers", path=str(folder), dtype="bfloat16"
        )
        setting = Setting(THREADS, "cpu", 0, lambda _done, _total: None)
        self._engine.load(spec, setting)
        self._stream = 0

    def burst(self, prompts: list[list[int]]) -> None:
        """Raises: RuntimeError if an answer is not whole."""
        answers = [self._start(prompt) for prompt in prompts]
        for answer in answers:
            last = answer.wait()
            if not isinstance(last, wire.Done) or last.usage.completion_tokens != NEW_TOKENS:
                raise RuntimeError(f"ours: {last}")

    def _start(self, prompt: list[int]) -> Answer:
        self._stream += 1
        rules = wire.Sampling(max_tokens=NEW_TOKENS, temperature=0.0, ignore_eos=True)
        body = wire.Generate(prompt=wire.TokenPrompt(tokens=prompt), sampling=rules)
        answer = Answer(self._stream)
        self._engine.submit(Job(self._stream, body, answer.emit))
        return answer

    def close(self) -> None:
        self._engine.close()


class Peer:
    def __init__(self, folder: Path) -> None:
        auto: Any = AutoModelForCausalLM
        model = auto.from_pretrained(folder, dtype=torch.bfloat16, attn_implementation="sdpa")
        rules = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=-1, pad_token_id=0
        )
        self._manager = model.init_continuous_batching(
            generation_config=rules, continuous_batching_config=PEER
        )
        self._manager.start()

    def burst(self, prompts: list[list[int]]) -> None:
        """Raises: RuntimeError if an answer is not whole."""
        self._manager.add_requests(prompts, max_new_tokens=NEW_TOKENS)
        left = len(prompts)
        deadline = time.monotonic() + WAIT_S
        while left:
            result = self._manager.get_result(timeout=1.0)
            if result is None:
                if time.monotonic() > deadline:
                    raise RuntimeError("peer: no answer in time")
                continue
            if len(result.generated_tokens) != NEW_TOKENS:
                raise RuntimeError(f"peer: {result.error}")
            left -= 1

    def close(self) -> None:
        self._manager.stop(block=True)


def prompts_of(streams: int, seed: int) -> list[list[int]]:
    """Give prompts that share nothing: a prefix cache would change what is compared."""
    generator = random.Random(seed)
    return [
        [generator.randrange(100, 40_000) for _ in range(PROMPT_TOKENS)] for _ in range(streams)
    ]


def measure(folder: Path) -> dict[int, tuple[Figures, Figures]]:
    """Give ours and the peer's figures by number of streams; their rounds alternate."""
    torch.set_num_threads(THREADS)
    ours, peer = Ours(folder), Peer(folder)
    results: dict[int, tuple[Figures, Figures]] = {}
    try:
        for streams, rounds in ROUNDS.items():
            results[streams] = Figures(), Figures()
            bursts: tuple[Burst, Burst] = (ours.burst, peer.burst)
            for burst in bursts:
                burst(prompts_of(streams, seed=streams))
            for at in range(rounds):
                sides = list(zip(results[streams], bursts, strict=True))
                for figures, burst in sides if at % 2 == 0 else reversed(sides):
                    figures.take(burst, prompts_of(streams, seed=1000 * streams + at))
    finally:
        ours.close()
        with suppress(RuntimeError):
            peer.close()
    return results


def rows_of(results: dict[int, tuple[Figures, Figures]]) -> list[report.Row]:
    rows = []
    for streams, (ours, peer) in results.items():
        what = f"{streams} stream{'s' if streams > 1 else ''}"
        rows.append(report.compare(f"{what}, tok/s", ours.wall, peer.wall, GOALS[streams]))
        rows.append(report.compare(f"{what}, tok per CPU s", ours.cpu, peer.cpu, GOALS[streams]))
    return rows


def find(data: Path) -> Path:
    """Give the starter model in safetensors form: a data folder's, or the folder itself."""
    configs = [data / "config.json", *sorted((data / "models").rglob("config.json"))]
    for config in configs:
        if config.is_file() and "LlamaForCausalLM" in config.read_text(encoding="utf-8"):
            return config.parent
    raise FileNotFoundError(f"no Llama model in safetensors form under {data}")


def main(data: Path) -> None:
    folder = find(data)
    notes = [
        f"SmolLM2-135M, bf16, {THREADS} thread, {PROMPT_TOKENS} prompt and {NEW_TOKENS} new tokens "
        "per stream, greedy; the peer is transformers' ContinuousBatchingManager."
    ]
    rows = rows_of(measure(folder))
    report.save("2-transformers", "The transformers engine against its library", rows, notes)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
