"""Fifteen models of every kind, real and tiny, under the names of the recorded trace.

`models(folder)` makes what has no published weights here; `question(name, number)` asks each its own way.
Used by the short test of the bed and by its bench.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference import wire
from inference.node.devices import Device
from inference.node.memory import placements
from inference.node.peaks import Peaks
from tests import digits_clip, models
from tests.inference.engines import tiny_models, tiny_vision
from tests.inference.node.traces import BED

CPU_LIMIT_BYTES = 1 << 40
FIT = 4
SPEECH = Path(__file__).parents[2] / "data" / "speech" / "sense_and_sensibility_0880.flac"
SIGHT = tiny_vision.picture(1)
Ask = Callable[[int], wire.Body]
Right = Callable[[list[Any]], bool]


@dataclass(frozen=True)
class Kind:
    """How a model of the bed is made, asked, and known to have answered."""

    kind: wire.Kind
    engine: str
    where: Callable[[Path], Path]
    ask: Ask
    right: Right


def _complete(number: int) -> wire.Body:
    rules = wire.Sampling(max_tokens=2 + number % 7, temperature=0.0, ignore_eos=True)
    return wire.Generate(prompt=wire.TextPrompt(text=f"The number {number} is"), sampling=rules)


def _look(number: int) -> wire.Body:
    text = f"what is number {number}?"
    message = wire.ChatMessage("user", text, parts=[wire.Image(SIGHT), text])
    rules = wire.Sampling(max_tokens=2 + number % 5, temperature=0.0, ignore_eos=True)
    return wire.Generate(prompt=wire.ChatPrompt(messages=[message]), sampling=rules)


def _embed(number: int) -> wire.Body:
    return wire.Embed(inputs=[f"text {number}", "a cat"])


def _listen(number: int) -> wire.Body:
    del number
    return wire.Transcribe(audio=SPEECH.read_bytes())


def _classify(number: int) -> wire.Body:
    images, _labels = digits_clip.held_out()
    image = wire.Image(digits_clip.png(images[number % len(images)]))
    return wire.Classify(inputs=[image], labels=digits_clip.WORDS, template="the digit {}")


def _generated(frames: list[Any]) -> bool:
    asked_least = 2
    tokens = sum(frame.tokens for frame in frames if isinstance(frame, wire.Delta))
    return bool(tokens == frames[-1].usage.completion_tokens >= asked_least)


def _vectors(rows: int, dimensions: int) -> Right:
    return lambda frames: (
        [(frame.rows, frame.dimensions) for frame in frames if isinstance(frame, wire.Vectors)]
        == [(rows, dimensions)]
    )


def _heard(frames: list[Any]) -> bool:
    return "young man" in "".join(f.text for f in frames if isinstance(f, wire.Segment)).lower()


def _tiny(kind: str) -> Kind:
    return Kind(
        "llm",
        "llm_transformers",
        lambda folder: _made(folder / kind, lambda place: tiny_models.make(place, kind)),
        _complete,
        _generated,
    )


def _eyes(kind: str) -> Kind:
    return Kind(
        "vlm",
        "vlm_transformers",
        lambda folder: _made(folder / kind, lambda place: tiny_vision.make(place, kind)),
        _look,
        _generated,
    )


def _made(place: Path, make: Callable[[Path], object]) -> Path:
    if not place.is_dir():
        make(place)
    return place


def _gguf(_folder: Path) -> Path:
    return models.smollm2_gguf()


KINDS = {
    "embed": Kind("embed", "embed_text", lambda _: models.minilm(), _embed, _vectors(2, 384)),
    "chat": Kind("llm", "llm_gguf", _gguf, _complete, _generated),
    "code": Kind(
        "llm", "llm_transformers", lambda _: models.smollm2_folder(), _complete, _generated
    ),
    "support": _tiny("llama"),
    "speech": Kind("asr", "asr_whisper", lambda _: models.whisper_tiny_en(), _listen, _heard),
    "vision": _eyes("llava"),
    "translate": _tiny("mistral"),
    "report": _tiny("qwen3"),
    "tagger": Kind(
        "clip", "embed_clip", lambda _: digits_clip.hugging_face(), _classify, _vectors(1, 10)
    ),
    "rank": Kind("llm", "llm_gguf", _gguf, _complete, _generated),
    "draft": _tiny("gemma2"),
    "legal": _eyes("idefics3"),
    "poem": _tiny("gpt2"),
    "old": _tiny("phi3"),
    "trial": _tiny("mixtral"),
}


def specs(folder: Path, names: Collection[str] = KINDS) -> dict[str, wire.ModelSpec]:
    """Make the models where they are not there yet, and say how they are served."""
    return {name: _spec(name, folder) for name in names}


def _spec(name: str, folder: Path) -> wire.ModelSpec:
    kind, use = KINDS[name], BED[name]
    return wire.ModelSpec(
        name=name,
        kind=kind.kind,
        engine=kind.engine,
        path=str(kind.where(folder)),
        context_tokens=512 if kind.kind == "llm" else 0,
        max_concurrency=use.concurrency,
        pinned=use.pinned,
        priority=use.priority,
    )


def crowded(some: Collection[wire.ModelSpec], state: Path) -> int:
    """Give room for the four hungriest, by the node's own formula."""
    return sum(sorted(claim(spec, state) for spec in some)[-FIT:])


def claim(spec: wire.ModelSpec, state: Path) -> int:
    """Give what a node claims that never saw the model."""
    cpu = Device("cpu", "", CPU_LIMIT_BYTES, CPU_LIMIT_BYTES, CPU_LIMIT_BYTES)
    return placements(spec, [cpu], Peaks(state / "none.json"))[0].claim["cpu"]


def question(spec: wire.ModelSpec, number: int, deadline_s: float) -> wire.Submit:
    body = KINDS[spec.name].ask(number)
    return wire.Submit(request_id=f"bed-{number}", spec=spec, body=body, deadline_s=deadline_s)


def right(name: str, frames: list[Any]) -> bool:
    return isinstance(frames[-1], wire.Done) and KINDS[name].right(frames)


def failure(frames: list[Any]) -> str:
    last = frames[-1]
    return f"{last.code}: {last.message}" if isinstance(last, wire.Failure) else "a wrong answer"
