"""A tiny model of each family: added, inspected, loaded by the engine that was found for it, and asked.

The weights are random, the architectures are not: what is said is what transformers itself says.
Whisper goes the same way, through its conversion, in `api/test_adding.py`.
"""

import importlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytest_django import Settings
from tokenizers import AddedToken

from inference import arrivals, entries, specs, wire
from inference.engines.vocabulary import Vocabulary
from tests import digits_clip
from tests.inference.engines import (
    small_tokenizers,
    tiny_encoders,
    tiny_models,
    tiny_vision,
)
from tests.inference.engines.driving import Driver
from tests.inference.engines.generating import shown, text_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]
LANGUAGE_MODELS = {  # by the names that people know them by
    "Llama 2, SmolLM": "llama",
    "Llama 3": "llama3",
    "Mistral": "mistral",
    "Mixtral": "mixtral",
    "Qwen 2": "qwen2",
    "Qwen 3": "qwen3",
    "Gemma 1": "gemma",
    "Gemma 2": "gemma2",
    "Gemma 3": "gemma3",
    "Phi 1 and 2": "phi",
    "Phi 3": "phi3",
    "SmolLM 3": "smollm3",
    "GPT-2": "gpt2",
    "Bloom": "bloom",
}
PROMPT, TOKENS = "hello world", 6
INFILL = ("\u2581<PRE>", "\u2581<SUF>", "\u2581<MID>", "\u2581<EOT>")


@pytest.fixture
def imports(tmp_path: Path, settings: Settings) -> Path:
    settings.HUB_IMPORT_ROOTS = [tmp_path]
    settings.HUB_MODELS = tmp_path / "models"
    return tmp_path


@contextmanager
def served(folder: Path, kind: str, **settings: Any) -> Iterator[Driver]:
    """Add a folder as an operator would, and load what was made of it."""
    wanted = entries.Wanted(source="local", name="tiny", path=str(folder), settings=settings)
    row = entries.add(wanted)
    arrivals.bring(row.pk)
    row.refresh_from_db()
    assert (row.state, row.kind) == ("available", kind), row.state_reason
    spec = specs.of(row)
    engine = importlib.import_module(f"inference.engines.{spec.engine}").ENGINE
    driver = Driver(engine(), spec)
    try:
        yield driver
    finally:
        driver.engine.close()


def asked(driver: Driver, prompt: wire.Prompt) -> str:
    rules = wire.Sampling(max_tokens=TOKENS, temperature=0.0)
    answer = driver.ask(wire.Generate(prompt=prompt, sampling=rules))
    assert isinstance(answer.wait(), wire.Done), answer.wait()
    return text_of(answer)


def weighed(driver: Driver, message: wire.ChatMessage) -> list[float]:
    """Give how likely each token of the answer was: a tiny model may say the same of anything."""
    rules = wire.Sampling(max_tokens=TOKENS, temperature=0.0)
    prompt = wire.ChatPrompt([message])
    answer = driver.ask(wire.Generate(prompt=prompt, sampling=rules, logprobs=0))
    assert isinstance(answer.wait(), wire.Done), answer.wait()
    return [one.logprob for delta in answer.of(wire.Delta) for one in delta.logprobs or []]


def expected(folder: Path, words: Vocabulary, prompt: list[int]) -> str:
    return shown(words, tiny_models.Reference(folder).greedy(prompt, TOKENS))


@pytest.mark.parametrize("name", LANGUAGE_MODELS)
def test_language_models(imports: Path, name: str) -> None:
    folder = tiny_models.make(imports / "m", LANGUAGE_MODELS[name])
    words = Vocabulary(small_tokenizers.byte_level())
    with served(folder, "llm", dtype="float32") as driver:
        said = asked(driver, wire.TextPrompt(text=PROMPT))
    assert said == expected(folder, words, words.encode(PROMPT, special=False))


def test_code_llama_fills_in(imports: Path) -> None:
    tokenizer = small_tokenizers.byte_fallback.__wrapped__(None)
    tokenizer.add_tokens([AddedToken(name, special=True, normalized=False) for name in INFILL])
    folder = tiny_models.make(imports / "m", "llama", vocab_size=len(tokenizer))
    tokenizer.save_pretrained(folder)
    words = Vocabulary(tokenizer)
    before, after, middle = (words.encode(name, special=True) for name in INFILL[:3])
    texts = [words.encode(text, special=False) for text in ("hello(", ")")]
    with served(folder, "llm", dtype="float32") as driver:
        said = asked(driver, wire.TextPrompt(text="hello(", suffix=")"))
    assert said == expected(folder, words, [*before, *texts[0], *after, *texts[1], *middle])


@pytest.mark.parametrize("kind", tiny_vision.KINDS)
def test_models_that_see(imports: Path, kind: str) -> None:
    folder = tiny_vision.make(imports / "m", kind)
    picture = wire.Image(digits_clip.png(digits_clip.held_out()[0][0]))
    message = wire.ChatMessage("user", "", parts=["what is it?", picture])
    with served(folder, "vlm", dtype="float32") as driver:
        without = weighed(driver, wire.ChatMessage("user", "what is it?"))
        assert weighed(driver, message) != pytest.approx(without, abs=1e-3)


@pytest.mark.parametrize("kind", tiny_encoders.KINDS)
def test_sentence_encoders(imports: Path, kind: str) -> None:
    folder = tiny_encoders.make(imports / "m", kind)
    with served(folder, "embed") as driver:
        found = driver.ask(wire.Embed(inputs=[PROMPT])).of(wire.Vectors)[0]
    vector = torch.from_numpy(np.frombuffer(found.data, np.float32).copy())
    assert torch.allclose(vector, tiny_encoders.mean(folder, PROMPT), atol=1e-4)


@pytest.mark.parametrize("layout", [digits_clip.hugging_face, digits_clip.open_clip])
def test_clip(imports: Path, layout: Callable[[], Path]) -> None:
    shutil.copytree(layout(), imports / "m")
    image = wire.Image(digits_clip.png(digits_clip.held_out()[0][0]))
    with served(imports / "m", "clip") as driver:
        found = driver.ask(wire.Embed(inputs=["the digit one", image])).of(wire.Vectors)[0]
        assert (found.rows, driver.loaded.device) == (2, "cpu")
