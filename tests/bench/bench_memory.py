"""What is claimed for each model before and after its first load, beside what it then takes at its fullest."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from inference import wire
from tests import digits_clip, models
from tests.bench import report
from tests.inference.engines import tiny_models
from tests.inference.node import bed, nodes
from tests.inference.node.nodes import Node

DEADLINE_S = 900.0
BEFORE, AFTER = 1.10, 1.03
NEW_TOKENS, SHORT_TOKENS = 64, 40
READERS, READ_TOKENS = 8, 2_048  # what keys and values are planned for
LARGEST = (4_800, 5_000)  # pixels of a picture that is still taken
SEED = 1
Work = Callable[[wire.ModelSpec], list[wire.Body]]


@dataclass(frozen=True)
class Figures:
    """Bytes of one load: claimed before it, held after it, held at most while it worked."""

    claimed: int
    loaded: int
    peak: int


# --- the work that takes the most --------------------------------------------------------------------


def reading(spec: wire.ModelSpec) -> list[wire.Body]:
    """Fill the keys and values that are planned, and then ask many for a little."""
    context = spec.context_tokens or 8_192
    long = min(READ_TOKENS, context) - NEW_TOKENS - 16
    return [*(_complete(long, n) for n in range(READERS)), *writing(spec)]


def writing(spec: wire.ModelSpec) -> list[wire.Body]:
    del spec
    return [_complete(SHORT_TOKENS, READERS + n) for n in range(4 * READERS)]


def _complete(tokens: int, seed: int) -> wire.Body:
    ids = np.random.default_rng(seed).integers(10, tiny_models.VOCAB - 10, tokens)
    rules = wire.Sampling(max_tokens=NEW_TOKENS, temperature=0.0, ignore_eos=True)
    return wire.Generate(prompt=wire.TokenPrompt(tokens=[*map(int, ids)]), sampling=rules)


def embedding(spec: wire.ModelSpec) -> list[wire.Body]:
    del spec
    return [wire.Embed(inputs=["word " * 200] * 64), wire.Embed(inputs=["a b c"] * 512)]


def listening(spec: wire.ModelSpec) -> list[wire.Body]:
    del spec
    return [wire.Transcribe(audio=bed.SPEECH.read_bytes()) for _ in range(READERS)]


def picture() -> bytes:
    noise = np.random.default_rng(SEED).integers(0, 256, (50, 48, 3), dtype=np.uint8)
    return digits_clip.png(Image.fromarray(noise).resize(LARGEST, Image.Resampling.NEAREST))


def seeing(spec: wire.ModelSpec) -> list[wire.Body]:
    if spec.engine == "embed_clip":
        return [wire.Embed(inputs=[wire.Image(picture())]), wire.Embed(inputs=["three"] * 64)]
    message = wire.ChatMessage("user", "what?", parts=[wire.Image(picture()), "what?"])
    rules = wire.Sampling(max_tokens=NEW_TOKENS, temperature=0.0, ignore_eos=True)
    look = wire.Generate(prompt=wire.ChatPrompt(messages=[message]), sampling=rules)
    return [look, *writing(spec)]


# --- the models -----------------------------------------------------------------------------------------


def cases(folder: Path) -> list[tuple[str, wire.ModelSpec, Work]]:
    chat, base = str(models.smollm2_gguf()), str(models.smollm2_folder())
    made = bed.specs(folder)
    tiny = [(name, made[name]) for name in ("support", "translate", "report", "draft", "poem")]
    tiny += [(name, made[name]) for name in ("old", "trial")]
    eyes = [(name, made[name]) for name in ("vision", "legal", "tagger")]
    packed: dict[str, str | int | float | bool] = {"quantization": "int8"}
    clip = str(digits_clip.open_clip())
    return [
        ("SmolLM2-135M Q4_1, llm_gguf", _llm("gguf", "llm_gguf", chat), writing),
        ("the same, kv_type q8_0", _llm("q8", "llm_gguf", chat, {"kv_type": "q8_0"}), writing),
        ("SmolLM2-135M, llm_transformers", _llm("smol", "llm_transformers", base), reading),
        ("the same, int8", _llm("int8", "llm_transformers", base, packed), reading),
        ("all-MiniLM-L6-v2, embed_text", made["embed"], embedding),
        ("whisper-tiny.en, asr_whisper", made["speech"], listening),
        *((f"tiny {Path(spec.path).name}, {spec.engine}", spec, reading) for _, spec in tiny),
        *((f"tiny {Path(spec.path).name}, {spec.engine}", spec, seeing) for _, spec in eyes),
        ("tiny open_clip, embed_clip", _clip(clip), seeing),
    ]


def _llm(
    name: str, engine: str, path: str, options: dict[str, str | int | float | bool] | None = None
) -> wire.ModelSpec:
    return wire.ModelSpec(name=name, kind="llm", engine=engine, path=path, options=options or {})


def _clip(path: str) -> wire.ModelSpec:
    return wire.ModelSpec(name="open", kind="clip", engine="embed_clip", path=path)


# --- measuring ------------------------------------------------------------------------------------------


async def load_and_work(node: Node, spec: wire.ModelSpec, work: Work) -> Figures:
    """Raises: RuntimeError if it could not be loaded or an answer failed."""
    planned = (await ask(node, wire.Plan(spec=spec)))[-1]
    loaded = (await ask(node, wire.Load(spec=spec, deadline_s=DEADLINE_S)))[-1]
    if not isinstance(loaded, wire.Loaded):
        raise RuntimeError(f"{spec.name}: {loaded}")
    (engine,) = node.engines()
    held = resident(engine.pid, "VmRSS")
    forget_peak(engine.pid)
    questions = [
        wire.Submit(request_id="m", spec=spec, body=b, deadline_s=DEADLINE_S) for b in work(spec)
    ]
    ends = await asyncio.gather(*(ask(node, question) for question in questions))
    failed = [frames[-1] for frames in ends if not isinstance(frames[-1], wire.Done)]
    if failed:
        raise RuntimeError(f"{spec.name}: {failed[0]}")
    peak = resident(engine.pid, "VmHWM")
    await ask(node, wire.Unload(model=spec.name, force=True))
    return Figures(planned.needed_bytes, held, peak)


async def ask(node: Node, message: wire.Any) -> list[Any]:
    async with node.talk() as talk:
        return await talk.ask(message, DEADLINE_S)


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # Source: proc(5)


def resident(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


async def twice(node: Node, spec: wire.ModelSpec, work: Work) -> tuple[Figures, Figures]:
    first = await load_and_work(node, spec, work)
    return first, await load_and_work(node, spec, work)


def measure(folder: Path, what: str, spec: wire.ModelSpec, work: Work) -> list[report.Row]:
    """A node of its own for each model: nothing is known of it, nor of its engine."""
    folder.mkdir()
    node = nodes.start(folder, threads=1)
    try:
        first, second = asyncio.run(twice(node, spec, work))
    finally:
        nodes.stop(node)
    held = report.Row(f"{what}: just loaded, MB", f"{first.loaded / 1e6:.0f}", "", "")
    return [held, _row(f"{what}: before", first, BEFORE), _row(f"{what}: after", second, AFTER)]


def _row(what: str, found: Figures, goal: float) -> report.Row:
    ratio = found.claimed / found.peak
    met = "yes" if 1 / goal <= ratio <= goal else "no"
    claimed, peak = f"{found.claimed / 1e6:.0f}", f"{found.peak / 1e6:.0f}"
    return report.Row(f"{what}, MB", claimed, peak, f"{ratio:.3f}", f"within {goal:.2f}", met)


def main(data: Path) -> None:
    rows: list[report.Row] = []
    for number, (what, spec, work) in enumerate(cases(data)):
        rows += measure(data / f"node-{number}", what, spec, work)
        sys.stderr.write(f"{rows[-2]}\n{rows[-1]}\n")
    notes = [
        "The hub's column is the claim, the peer's the most that the process held while it did the work that"
        " takes the most: keys and values filled as planned (8 prompts of 2,048 tokens at once), the largest"
        " picture, eight recordings, full batches. Before: a node that never saw the model nor its engine."
        " After: the second load. Resident size, as if nobody shared its pages; no spare process.",
    ]
    report.save("8-memory", "Memory: claimed and taken", rows, notes)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
