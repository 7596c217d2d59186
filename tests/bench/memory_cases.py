"""The models whose memory is measured, each with the work that takes the most; used by `bench_memory`."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from inference import wire
from inference.media import SAMPLE_RATE, Audio
from inference.node.memory import ENCODED_TOKENS
from tests import digits_clip, models
from tests.inference.encoding import encode
from tests.inference.engines import (
    tiny_adapters,
    tiny_encoders,
    tiny_gguf_vision,
    tiny_models,
    tiny_vision,
)
from tests.inference.node import bed

NEW_TOKENS, SHORT_TOKENS = 64, 40
READERS, READ_TOKENS = 8, 2_048  # what keys and values are planned for
LONG_TOKENS = 8_192  # SmolLM2's whole context
FAR_TOKENS = 16_384  # of a tiny model
FAR = 8_192  # of a tiny encoder
ADAPTERS, RANK = 4, 64
SPEECH = sorted(bed.SPEECH.parent.glob("*.flac"))
LONG_S = 130  # more than two pieces of what Whisper hears at once
LARGEST = (4_800, 5_000)  # pixels of a picture that is still taken
SEED = 1
BERT_BASE = {"hidden_size": 768, "intermediate_size": 3_072, "num_hidden_layers": 12}
Work = Callable[[wire.ModelSpec], list[wire.Body]]


@dataclass(frozen=True)
class Case:
    what: str
    spec: wire.ModelSpec
    work: Work


# --- the work that takes the most --------------------------------------------------------------------


def reading(spec: wire.ModelSpec) -> list[wire.Body]:
    """Fill the keys and values that are planned, and then ask many for a little."""
    context = spec.context_tokens or 8_192
    long = min(READ_TOKENS, context) - NEW_TOKENS - 16
    return [*(_complete(long, n) for n in range(READERS)), *writing(spec)]


def writing(spec: wire.ModelSpec) -> list[wire.Body]:
    del spec
    return [_complete(SHORT_TOKENS, READERS + n) for n in range(4 * READERS)]


def far(tokens: int, spec: wire.ModelSpec) -> list[wire.Body]:
    """Two prompts that fill the context, and then many short ones."""
    long = tokens - NEW_TOKENS - 16
    return [*(_complete(long, n) for n in range(2)), *writing(spec)]


def _complete(tokens: int, seed: int) -> wire.Generate:
    ids = np.random.default_rng(seed).integers(10, tiny_models.VOCAB - 10, tokens)
    rules = wire.Sampling(max_tokens=NEW_TOKENS, temperature=0.0, ignore_eos=True)
    return wire.Generate(prompt=wire.TokenPrompt(tokens=[*map(int, ids)]), sampling=rules)


def adapted(adapters: list[wire.Adapter], spec: wire.ModelSpec) -> list[wire.Body]:
    """Let all adapters answer at once, beside the plain model."""
    bodies: list[wire.Body] = []
    for number, body in enumerate(reading(spec)):
        lora = [*adapters, None][number % (len(adapters) + 1)]
        bodies.append(msgspec.structs.replace(body, adapter=lora))
    return bodies


def embedding(vocabulary: int, tokens: int, spec: wire.ModelSpec) -> list[wire.Body]:
    """Full windows with each token there is, and many short ones."""
    del spec
    ids = [*range(max(vocabulary, tokens, 2 * ENCODED_TOKENS))]
    cut = [[number % vocabulary for number in ids[at : at + tokens]] for at in ids[::tokens]]
    return [wire.Embed(inputs=[*cut]), wire.Embed(inputs=[[1, 2, 3]] * 512)]


def listening(spec: wire.ModelSpec) -> list[wire.Body]:
    del spec
    return [wire.Transcribe(audio=bed.SPEECH.read_bytes()) for _ in range(READERS)]


def listening_long(spec: wire.ModelSpec) -> list[wire.Body]:
    """Eight recordings of more than two pieces at once."""
    del spec
    pause = np.zeros(5 * SAMPLE_RATE, np.float32)
    clips = [next(Audio(file.read_bytes(), 60).pieces(60)) for file in SPEECH]
    once = np.concatenate([part for clip in clips for part in (clip, pause)])
    whole = (np.tile(once, -(-LONG_S * SAMPLE_RATE // len(once))) * 32_767).astype(np.int16)
    return [wire.Transcribe(audio=encode(whole, "flac")) for _ in range(READERS)]


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


def cases(folder: Path) -> Iterator[Case]:
    made = bed.specs(folder)
    yield from _smollm2(folder)
    yield from _encoders(folder, made)
    yield from _speech(made)
    yield from _tiny(folder, made)
    yield from _eyes(folder, made)


def _smollm2(folder: Path) -> Iterator[Case]:
    chat, base = str(models.smollm2_gguf()), models.smollm2_folder()
    gguf = partial(_llm, engine="llm_gguf", path=chat)
    plain = partial(_llm, engine="llm_transformers", path=str(base))
    yield Case("SmolLM2-135M Q4_1, llm_gguf", gguf("gguf"), writing)
    yield Case("SmolLM2-135M Q4_1, kv_type q8_0", gguf("q8", options={"kv_type": "q8_0"}), writing)
    yield Case("SmolLM2-135M Q4_1, prompts of 8,192 tokens", gguf("far"), partial(far, LONG_TOKENS))
    yield Case("SmolLM2-135M, llm_transformers", plain("smol"), reading)
    for mode in ("int8", "nf4"):
        yield Case(f"SmolLM2-135M, {mode}", plain(mode, options={"quantization": mode}), reading)
    yield Case("SmolLM2-135M, prompts of 8,192 tokens", plain("long"), partial(far, LONG_TOKENS))
    loras = adapters(folder, base)
    size = sum((Path(lora.path) / "adapter_model.safetensors").stat().st_size for lora in loras)
    spec = plain("lora", adapters_bytes=size)
    yield Case(
        f"SmolLM2-135M with {ADAPTERS} adapters of rank {RANK}", spec, partial(adapted, loras)
    )


def adapters(folder: Path, base: Path) -> list[wire.Adapter]:
    return [
        tiny_adapters.make(folder / f"lora-{n}", base, seed=n, std=0.01, r=RANK)
        for n in range(ADAPTERS)
    ]


def _encoders(folder: Path, made: dict[str, wire.ModelSpec]) -> Iterator[Case]:
    yield Case("all-MiniLM-L6-v2, embed_text", made["embed"], partial(embedding, 30_522, 200))
    for kind in tiny_encoders.KINDS:
        place = tiny_encoders.make(folder / f"encoder-{kind}", kind)
        yield Case(
            f"tiny {kind}, embed_text",
            _embed(kind, place),
            partial(embedding, tiny_models.VOCAB, 100),
        )
    place = tiny_encoders.make(folder / "far-encoder", "modernbert", max_position_embeddings=FAR)
    work = partial(embedding, tiny_models.VOCAB, FAR)
    yield Case(f"tiny modernbert, texts of {FAR:,} tokens", _embed("far", place), work)
    base = tiny_encoders.make(folder / "bert-base", "bert", **BERT_BASE)
    yield Case(
        "random BERT of base size, embed_text",
        _embed("base", base),
        partial(embedding, tiny_models.VOCAB, 100),
    )


def _speech(made: dict[str, wire.ModelSpec]) -> Iterator[Case]:
    yield Case("whisper-tiny.en, asr_whisper", made["speech"], listening)
    what = f"whisper-tiny.en, {READERS} recordings of {LONG_S} s"
    yield Case(what, msgspec.structs.replace(made["speech"], name="long"), listening_long)
    base = Path(os.environ["AI_HUB_MODELS"]) / "whisper-base"
    if base.is_dir():  # of the medium starters
        spec = msgspec.structs.replace(made["speech"], name="many", path=str(base))
        yield Case("whisper-base, asr_whisper", spec, listening)


def _tiny(folder: Path, made: dict[str, wire.ModelSpec]) -> Iterator[Case]:
    for name in ("support", "translate", "report", "draft", "poem", "old", "trial"):
        yield _named(made[name], reading)
    place = folder / "far"
    tiny_models.make(place, "llama", max_position_embeddings=FAR_TOKENS)
    spec = _llm("far", engine="llm_transformers", path=str(place))
    yield Case(f"tiny llama, prompts of {FAR_TOKENS:,} tokens", spec, partial(far, FAR_TOKENS))


def _eyes(folder: Path, made: dict[str, wire.ModelSpec]) -> Iterator[Case]:
    for name in ("vision", "legal", "tagger"):
        yield _named(made[name], seeing)
    for kind in ("qwen2_vl", "internvl"):
        path = str(tiny_vision.make(folder / kind, kind))
        spec = wire.ModelSpec(name=kind, kind="vlm", engine="vlm_transformers", path=path)
        yield _named(spec, seeing)
    open_clip = str(digits_clip.open_clip())
    spec = wire.ModelSpec(name="open", kind="clip", engine="embed_clip", path=open_clip)
    yield Case("tiny open_clip, embed_clip", spec, seeing)
    place = tiny_gguf_vision.make(folder / "gguf-eyes")
    file, projector = place / tiny_gguf_vision.MODEL, place / tiny_gguf_vision.PROJECTOR
    spec = _llm("mmproj", engine="llm_gguf", path=str(file), projector=str(projector))
    yield Case("tiny llava with mmproj, llm_gguf", spec, seeing)


def _named(spec: wire.ModelSpec, work: Work) -> Case:
    return Case(f"tiny {Path(spec.path).name}, {spec.engine}", spec, work)


def _llm(name: str, engine: str, path: str, **more: object) -> wire.ModelSpec:
    return wire.ModelSpec(name=name, kind="llm", engine=engine, path=path, **more)  # type: ignore[arg-type]


def _embed(name: str, place: Path) -> wire.ModelSpec:
    return wire.ModelSpec(name=name, kind="embed", engine="embed_text", path=str(place))
