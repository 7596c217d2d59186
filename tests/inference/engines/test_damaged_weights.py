"""Weights that are no numbers: such a model is refused while it loads, and serves no garbage."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from inference import preparation, wire
from inference.engines import worker
from inference.engines.base import NO_NUMBERS
from inference.errors import LoadFailed
from tests import digits_clip

from . import (
    generating,
    small_tokenizers,
    tiny_encoders,
    tiny_gguf,
    tiny_models,
    tiny_vision,
    tiny_whisper,
)
from .driving import Driver
from .generating import ask_tokens, deltas_of

NAN, INFINITY = float("nan"), float("inf")


def spoiled(folder: Path, name: str, value: float = NAN, row: int | None = None) -> Path:
    """Overwrite a tensor, or a row of it."""
    (file,) = folder.glob("*.safetensors")
    weights = load_file(file)
    (found,) = [key for key in weights if key.endswith(name)]
    (weights[found] if row is None else weights[found][row]).fill_(value)
    save_file(weights, file, {"format": "pt"})
    return folder


def load(folder: Path, kind: wire.Kind, engine: str) -> None:
    spec = wire.ModelSpec(name="m", kind=kind, engine=engine, path=str(folder), dtype="float32")
    Driver(worker.create(engine), spec).engine.close()


def refused(folder: Path, kind: wire.Kind, engine: str) -> None:
    with pytest.raises(LoadFailed) as found:
        load(folder, kind, engine)
    assert NO_NUMBERS in found.value.message


@pytest.mark.parametrize("value", [NAN, INFINITY])
@pytest.mark.parametrize(
    ("kind", "name"),
    [("llama", "layers.1.mlp.up_proj.weight"), ("gpt2", "h.1.mlp.c_fc.weight")],
)
def test_a_language_model(tmp_path: Path, kind: str, name: str, value: float) -> None:
    refused(spoiled(tiny_models.make(tmp_path, kind), name, value), "llm", "llm_transformers")


def test_a_model_that_sees(tmp_path: Path) -> None:
    folder = spoiled(tiny_vision.make(tmp_path, "llava"), "layers.0.mlp.up_proj.weight")
    refused(folder, "vlm", "vlm_transformers")


def test_a_sentence_encoder(tmp_path: Path) -> None:
    folder = spoiled(tiny_encoders.make(tmp_path, "bert"), "layer.1.output.dense.weight")
    refused(folder, "embed", "embed_text")


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        (digits_clip.hugging_face, "text_model.embeddings.position_embedding.weight"),
        (digits_clip.hugging_face, "vision_model.embeddings.patch_embedding.weight"),
        (digits_clip.open_clip, "visual.conv1.weight"),
    ],
)
def test_a_clip(tmp_path: Path, layout: Callable[[], Path], name: str) -> None:
    folder = spoiled(shutil.copytree(layout(), tmp_path / "m"), name)
    refused(folder, "clip", "embed_clip")


@pytest.mark.models
def test_a_whisper(tmp_path: Path) -> None:
    source = spoiled(tiny_whisper.make(tmp_path / "hf"), "decoder.layers.0.fc1.weight")
    preparation.to_ctranslate2(source, tmp_path / "ct2")
    refused(tmp_path / "ct2", "asr", "asr_whisper")


@pytest.mark.parametrize("rules", [{}, {"temperature": 1.0, "logprobs": 1}, {"temperature": 0.5}])
def test_a_word_that_is_no_number_harms_its_own_request_only(
    tmp_path: Path, rules: dict[str, float]
) -> None:
    folder = spoiled(tiny_models.make(tmp_path, "qwen2"), "embed_tokens.weight", row=7)
    driver = generating.drive(folder)
    try:
        good = driver.start(ask_tokens([1, 2, 3], 40))
        good.wait_for(lambda: deltas_of(good))
        failure = driver.failure(ask_tokens([1, 7], 4, **rules))
        assert (failure.code, failure.message) == ("engine_failed", NO_NUMBERS)
        assert isinstance(good.wait(), wire.Done)
    finally:
        driver.engine.close()


def test_one_input_that_is_no_number_leaves_others_their_vectors(tmp_path: Path) -> None:
    folder = spoiled(tiny_encoders.make(tmp_path, "bert"), "word_embeddings.weight", row=9)
    spec = wire.ModelSpec(name="m", kind="embed", engine="embed_text", path=str(folder))
    driver = Driver(worker.create("embed_text"), spec)
    try:
        good, bad = (driver.start(wire.Embed(inputs=[[token]])) for token in (8, 9))
        assert bad.wait().message == NO_NUMBERS
        assert isinstance(good.wait(), wire.Done)
        vector = torch.frombuffer(bytearray(good.of(wire.Vectors)[0].data), dtype=torch.float32)
        assert vector.isfinite().all()
    finally:
        driver.engine.close()


def test_a_gguf(tmp_path: Path) -> None:
    folder, words = tiny_models.make(tmp_path / "hf", "llama"), small_tokenizers.byte_level()
    weights: dict[str, Any] = {
        "model.layers.1.mlp.up_proj.weight": np.full((48, 32), NAN, np.float32)
    }
    file = tiny_gguf.make(tmp_path / "m.gguf", folder, words, **weights)
    refused(file, "llm", "llm_gguf")
