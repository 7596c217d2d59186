"""A result in other forms, each compared with the original's answers.

`python -m training.run.export BASE RESULT TARGET KIND [PROMPT ...]`: KIND is adapter, merged or gguf; the
last line on standard output is `{"done": ..., "report": {...}}` or `{"error": ...}`. TARGET appears whole
or not at all. RESULT is a job's result or checkpoint: an adapter or a whole model.
"""

import argparse
import json
import os
import shutil
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from transformers import AutoModelForCausalLM

from inference import wire
from inference.engines import merge
from inference.engines.appearing import appearing
from inference.engines.base import Job, Setting
from inference.engines.llm_gguf import LlmGguf
from training.run import answers, gguf_file, saving
from training.run.libraries import PeftModel
from training.run.rendering import Renderer

Kind = Literal["adapter", "merged", "gguf"]
PROMPTS = ("What can you do?", "Count from one to ten.", "Name three colours.", "Who are you?")
ANSWER_TOKENS = 24
WAIT_S = 300.0
ALIKE = 0.75  # of the answers, in half precision and another library


class ExportFailed(Exception):
    """The message says why."""


def export(
    base: Path, result: Path, target: Path, kind: Kind, prompts: Sequence[str]
) -> dict[str, Any]:
    """Write it and give the parity report. Raises: ExportFailed, OSError."""
    asked = list(dict.fromkeys([*prompts, *PROMPTS]))
    try:
        with appearing(target) as folder:
            file = _write(base, result, folder, kind)
            report = compare(base, result, file, kind, asked)
    except (gguf_file.NotWritable, merge.MergeFailed, RuntimeError, ValueError, KeyError) as error:
        raise ExportFailed(f"{kind}: {error}") from error
    return report


def _write(base: Path, result: Path, folder: Path, kind: Kind) -> Path:
    """Give what is to be compared."""
    if kind == "adapter":
        for name in ("adapter_config.json", saving.ADAPTER):
            shutil.copyfile(result / name, folder / name)
        return folder
    whole = _whole(base, result, folder if kind == "merged" else folder / "merged")
    if kind == "merged":
        return whole
    file = folder / f"{target_name(base, result)}-F16.gguf"
    gguf_file.write(whole, file, target_name(base, result))
    shutil.rmtree(folder / "merged", ignore_errors=True)
    return file


def target_name(base: Path, result: Path) -> str:
    return f"{base.name}-{result.parent.name}"


def _whole(base: Path, result: Path, folder: Path) -> Path:
    """Put the adapter into the base, or copy a whole model."""
    if (result / saving.ADAPTER).exists():
        made = folder.with_name(f"{folder.name}.whole")
        merge.merge(base, result, made)
        shutil.copytree(made, folder, dirs_exist_ok=True)
        shutil.rmtree(made)
        return folder
    kept = ("model*", *saving.BESIDE)
    folder.mkdir(exist_ok=True)
    for file in (file for pattern in kept for file in result.glob(pattern)):
        shutil.copyfile(file, folder / file.name)
    return folder


# --- parity ---------------------------------------------------------------------------------------


def compare(
    base: Path, result: Path, made: Path, kind: Kind, prompts: Sequence[str]
) -> dict[str, Any]:
    """Ask both the same; for models of transformers, look at their logits too."""
    renderer = Renderer.load(base)
    original = _load(base, result)
    wanted = [_ask(original, renderer, prompt) for prompt in prompts]
    report: dict[str, Any] = {"prompts": len(prompts)}
    if kind == "gguf":
        found = _ask_llama(made, prompts)
    else:
        other = _load(base, made) if kind == "adapter" else _load(made, made)
        found = [_ask(other, renderer, prompt) for prompt in prompts]
        report["max_logit_difference"] = _difference(original, other, renderer, prompts)
    same = sum(a == b for a, b in zip(wanted, found, strict=True))
    starts = [_shared(a, b) for a, b in zip(wanted, found, strict=True)]
    report |= {"same_answers": same, "shared_start": round(sum(starts) / len(starts), 3)}
    report["alike"] = report["shared_start"] >= ALIKE
    report["answers"] = [
        {"prompt": p, "original": a, "export": b}
        for p, a, b in zip(prompts, wanted, found, strict=True)
    ]
    return report


def _load(base: Path, result: Path) -> Any:
    """A base with its adapter, or a whole model, in float32."""
    adapted = (result / saving.ADAPTER).exists()
    auto: Any = AutoModelForCausalLM
    model = auto.from_pretrained(
        base if adapted else result,
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
    )
    return (PeftModel.from_pretrained(model, str(result)) if adapted else model).eval()


def _ask(model: Any, renderer: Renderer, prompt: str) -> str:
    return answers.to_prompt(model, renderer, prompt, ANSWER_TOKENS)


@torch.inference_mode()
def _difference(one: Any, other: Any, renderer: Renderer, prompts: Sequence[str]) -> float:
    most = 0.0
    for prompt in prompts:
        ids = torch.tensor([renderer.text(prompt).ids])
        logits = [model(input_ids=ids).logits.float() for model in (one, other)]
        most = max(most, float((logits[0] - logits[1]).abs().max()))
    return round(most, 5)


def _shared(one: str, other: str) -> float:
    """Give the part of the first answer, in words, up to where the second leaves it."""
    words, others = one.split(), other.split()
    same = 0
    for a, b in zip(words, others, strict=False):
        if a != b:
            break
        same += 1
    return same / len(words) if words else float(not others)


def _ask_llama(file: Path, prompts: Sequence[str]) -> list[str]:
    """Through the engine that will serve it."""
    engine = LlmGguf()
    spec = wire.ModelSpec(name="export", kind="llm", engine="llm_gguf", path=str(file))
    setting = Setting(threads=1, device="cpu", memory_bytes=0, progress=lambda _done, _all: None)
    engine.load(spec, setting)
    try:
        return [_one(engine, at, prompt) for at, prompt in enumerate(prompts, 1)]
    finally:
        engine.close()


def _one(engine: LlmGguf, stream: int, prompt: str) -> str:
    said, ended = list[str](), threading.Event()

    def take(frame: Any) -> None:
        if isinstance(frame, wire.Delta):
            said.append(frame.text)
        elif isinstance(frame, wire.Done | wire.Failure):
            ended.set()

    body = wire.Generate(
        prompt=wire.ChatPrompt(messages=[wire.ChatMessage("user", prompt)]),
        sampling=wire.Sampling(temperature=0.0, max_tokens=ANSWER_TOKENS),
    )
    engine.submit(Job(stream, body, take))
    if not ended.wait(WAIT_S):
        raise ExportFailed("the exported model gives no answer")
    return "".join(said).strip()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.run.export")
    for name in ("base", "result", "target"):
        parser.add_argument(name, type=Path)
    parser.add_argument("kind", choices=["adapter", "merged", "gguf"])
    parser.add_argument("prompt", nargs="*")
    chosen = parser.parse_args(arguments)
    lines = os.dup(1)
    os.dup2(2, 1)  # what libraries print
    try:
        kind = cast("Kind", chosen.kind)
        report = export(chosen.base, chosen.result, chosen.target, kind, chosen.prompt)
        told: dict[str, Any] = {"done": str(chosen.target), "report": report}
    except (ExportFailed, OSError) as error:
        told = {"error": str(error)}
    os.write(lines, json.dumps(told, ensure_ascii=False).encode() + b"\n")
    return 1 if "error" in told else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
