"""What fewer bits cost and save: memory, tokens per second and quality, against the plain model.

Rounds of all modes alternate in one process; memory is that of a fresh process for each mode.
Quality: perplexity of a fixed text; for keys and values, the next token after pieces of that text.
"""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import torch

from inference import wire
from inference.engines.llm_gguf import LlmGguf
from tests import models, servers
from tests.bench import report
from tests.bench.bench_transformers import NEW_TOKENS, prompts_of
from tests.inference.engines.driving import Driver
from tests.inference.engines.generating import drive, perplexity

STREAMS, ROUNDS, TEXT_TOKENS = (1, 8, 32), 5, 1024
MODES = ("none", "int8", "nf4")
PIECES, PIECE_CHARACTERS = 20, 800
README = (servers.ROOT / "README.md").read_text(encoding="utf-8")
Figures = dict[tuple[str, int], list[float]]


def transformers_engine(mode: str) -> Driver:
    options = {"quantization": mode}
    return drive(models.smollm2_folder(), dtype="bfloat16", options=options)


def gguf_engine(kv_type: str) -> Driver:
    spec = wire.ModelSpec(
        name="bench",
        kind="llm",
        engine="llm_gguf",
        path=str(models.smollm2_gguf()),
        context_tokens=2_048,
        max_concurrency=8,
        options={"kv_type": kv_type},
    )
    return Driver(LlmGguf(), spec)


def tokens_per_s(driver: Driver, streams: int, seed: int) -> float:
    """Raises: RuntimeError if an answer is not whole."""
    rules = wire.Sampling(max_tokens=NEW_TOKENS, temperature=0.0, ignore_eos=True)
    prompts = [wire.TokenPrompt(tokens=tokens) for tokens in prompts_of(streams, seed)]
    started_s = time.perf_counter()
    answers = [driver.start(wire.Generate(prompt=prompt, sampling=rules)) for prompt in prompts]
    if not all(isinstance(answer.wait(), wire.Done) for answer in answers):
        raise RuntimeError("an answer failed")
    return streams * NEW_TOKENS / (time.perf_counter() - started_s)


def alternate(drivers: dict[str, Driver], streams: tuple[int, ...]) -> Figures:
    found: Figures = {(mode, count): [] for mode in drivers for count in streams}
    for turn in range(ROUNDS + 1):
        for (mode, count), figures in found.items():
            figure = tokens_per_s(drivers[mode], count, turn * 100 + count)
            if turn:  # the first one warms up
                figures.append(figure)
    return found


def next_tokens(driver: Driver) -> list[dict[str, float]]:
    """Give the log probabilities of the 20 likeliest next tokens after pieces of a text."""
    step = max(1, (len(README) - PIECE_CHARACTERS) // PIECES)
    rules = wire.Sampling(max_tokens=1, temperature=0.0)
    found = []
    for at in range(0, step * PIECES, step):
        prompt = wire.TextPrompt(text=README[at : at + PIECE_CHARACTERS])
        answer = driver.ask(wire.Generate(prompt=prompt, sampling=rules, logprobs=20))
        first = answer.of(wire.Delta)[0].logprobs[0]
        found.append({str(choice.token): choice.logprob for choice in first.top})
    return found


def memory_mb(mode: str) -> float:
    """Measure a fresh process that has loaded this and answered once."""
    command = [sys.executable, "-m", "tests.bench.bench_quant", mode]
    return float(subprocess.run(command, check=True, capture_output=True).stdout.split()[-1])


def weights_rows() -> list[report.Row]:
    torch.set_num_threads(1)
    drivers = {mode: transformers_engine(mode) for mode in MODES}
    speed = alternate(drivers, STREAMS)
    told = {mode: perplexity(driver, README, TEXT_TOKENS) for mode, driver in drivers.items()}
    kept = {mode: driver.loaded.weights_bytes / 1e6 for mode, driver in drivers.items()}
    memory = {mode: [memory_mb(mode) for _ in range(3)] for mode in MODES}
    rows = []
    for mode in MODES[1:]:
        rows += [
            plain(f"{mode}: weights, MB", kept[mode], kept["none"]),
            report.compare(f"{mode}: memory of the process, MB", memory[mode], memory["none"]),
            plain(f"{mode}: perplexity", told[mode], told["none"]),
        ]
        rows += [
            report.compare(
                f"{mode}: tok/s at {count} streams", speed[mode, count], speed["none", count]
            )
            for count in STREAMS
        ]
    return rows


def kv_rows() -> list[report.Row]:
    drivers = {kv: gguf_engine(kv) for kv in ("f16", "q8_0")}
    speed = alternate(drivers, (1, 8))
    kept = {kv: driver.loaded.kv_bytes / 1e6 for kv, driver in drivers.items()}
    exact, packed = next_tokens(drivers["f16"]), next_tokens(drivers["q8_0"])
    same = sum(
        max(a, key=a.__getitem__) == max(b, key=b.__getitem__)
        for a, b in zip(exact, packed, strict=True)
    )
    apart = [
        abs(a[token] - b[token])
        for a, b in zip(exact, packed, strict=True)
        for token in sorted(a, key=a.__getitem__)[-5:]
        if token in b
    ]
    return [
        plain("GGUF keys and values q8_0: cache, MB", kept["q8_0"], kept["f16"]),
        plain("q8_0: same next token", same, len(exact)),
        plain("q8_0: log probability apart, worst of the five likeliest", max(apart), 0),
        *(
            report.compare(
                f"q8_0: tok/s at {count} streams", speed["q8_0", count], speed["f16", count]
            )
            for count in (1, 8)
        ),
    ]


def plain(what: str, ours: float, peer: float) -> report.Row:
    ratio = f"{ours / peer:.2f}" if peer else ""
    return report.Row(what, f"{ours:.4g}", f"{peer:.4g}", ratio)


def main(_data: Path) -> None:
    notes = [
        "Peer: the same engine with nothing quantized (bf16 weights; f16 keys and values). One thread, 64 new"
        f" tokens, {ROUNDS} rounds. Perplexity of {TEXT_TOKENS} tokens of the README.",
    ]
    rows = weights_rows() + kv_rows()
    report.save("quant", "Fewer bits: SmolLM2-135M against itself", rows, notes)


if __name__ == "__main__":
    tokens_per_s(transformers_engine(sys.argv[1]), 1, 1)
    print(psutil.Process().memory_full_info().pss / 1e6)  # noqa: T201
