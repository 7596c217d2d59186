"""Images and texts in one space, with a CLIP really trained on handwritten digits."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from inference import wire
from inference.engines.embed_clip import EmbedClip
from inference.errors import LoadFailed
from tests import digits_clip

from .driving import Answer, Driver

TEMPLATE = "the digit {}"


def spec(folder: Path) -> wire.ModelSpec:
    return wire.ModelSpec(name="clip", kind="clip", engine="embed_clip", path=str(folder))


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = Driver(EmbedClip(), spec(digits_clip.hugging_face()))
    yield driver
    driver.engine.close()


@pytest.fixture(scope="module")
def images() -> list[wire.Image]:
    return [wire.Image(digits_clip.png(image)) for image in digits_clip.held_out()[0]]


def matrix(answer: Answer) -> np.ndarray:
    (vectors,) = answer.of(wire.Vectors)
    return np.frombuffer(vectors.data, "<f4").reshape(vectors.rows, vectors.dimensions)


def test_it_says_what_it_can_do(driver: Driver) -> None:
    assert driver.loaded.capabilities == ["embeddings", "images", "classify"]
    assert driver.loaded.weights_bytes > 0


def test_it_reads_handwriting_it_never_saw(driver: Driver, images: list[wire.Image]) -> None:
    body = wire.Classify(inputs=[*images], labels=digits_clip.WORDS, template=TEMPLATE)
    told = matrix(driver.ask(body))
    assert told.shape == (len(images), 10)
    np.testing.assert_allclose(told.sum(1), 1, atol=1e-5)
    right = told.argmax(1) == np.array(digits_clip.held_out()[1])
    assert right.mean() > 0.85


def test_vectors_are_those_of_transformers(driver: Driver, images: list[wire.Image]) -> None:
    found = matrix(driver.ask(wire.Embed(inputs=["the digit one", images[0], "zero", images[1]])))
    expected = _reference(["the digit one", "zero"], digits_clip.held_out()[0][:2])
    np.testing.assert_allclose(found, expected[[0, 2, 1, 3]], atol=1e-5)


@torch.inference_mode()
def _reference(texts: list[str], pictures: list[Image.Image]) -> np.ndarray:
    folder, any_ = digits_clip.hugging_face(), transformers
    model: Any = any_.CLIPModel.from_pretrained(folder)
    tokenizer: Any = any_.AutoTokenizer.from_pretrained(folder)
    processor: Any = any_.AutoImageProcessor.from_pretrained(folder)  # type: ignore[no-untyped-call]
    one_by_one = [
        model.get_text_features(**tokenizer(text, return_tensors="pt")).pooler_output
        for text in texts
    ]
    pixels = processor(images=pictures, return_tensors="pt")
    both = torch.cat([*one_by_one, model.get_image_features(**pixels).pooler_output])
    unit: np.ndarray = torch.nn.functional.normalize(both, dim=-1).numpy()
    return unit


def test_many_at_once_are_as_one_alone(driver: Driver, images: list[wire.Image]) -> None:
    alone = [matrix(driver.ask(wire.Embed(inputs=[item]))) for item in (images[3], "two")]
    started = [driver.start(wire.Embed(inputs=[images[3], "two"])) for _ in range(12)]
    for answer in started:
        answer.wait()
        np.testing.assert_allclose(matrix(answer), np.concatenate(alone), atol=1e-5)
    assert matrix(driver.ask(wire.Embed(inputs=["two"], dimensions=8))).shape == (1, 8)


def test_a_damaged_image_is_its_own_requests_fault(
    driver: Driver, images: list[wire.Image]
) -> None:
    good = driver.start(wire.Embed(inputs=[images[0]]))
    bad = driver.failure(wire.Embed(inputs=[images[0], wire.Image(b"no image"), images[1]]))
    assert (bad.code, bad.param) == ("invalid_media", "input")
    assert isinstance(good.wait(), wire.Done)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (wire.Embed(inputs=["word " * 200]), "context_length_exceeded"),
        (wire.Classify(inputs=["x"], labels=["word " * 200]), "context_length_exceeded"),
        (wire.Embed(inputs=[[1, 2]]), "unsupported_parameter"),
        (wire.Embed(inputs=["x"], dimensions=999), "invalid_value"),
        (wire.Generate(prompt=wire.TextPrompt(text="x")), "unsupported_model"),
    ],
)
def test_it_names_what_it_refuses(driver: Driver, body: wire.Body, code: str) -> None:
    assert driver.failure(body).code == code


def test_pickled_weights_are_never_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(digits_clip.hugging_face(), folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(LoadFailed):
        EmbedClip().load(spec(folder), _setting())


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "{}",
        '{"model_cfg": {"text_cfg": {"tokenizer_kwargs": {"trust_remote_code": true}}}}',
        '{"model_cfg": {"text_cfg": {}}}',
    ],
)
def test_an_open_clip_folder_is_checked_before_anything_is_imported(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "open_clip_config.json").write_text(text)
    with pytest.raises(LoadFailed):
        EmbedClip().load(spec(tmp_path), _setting())


def _setting() -> Any:
    from inference.engines.base import Setting  # noqa: PLC0415

    return Setting(threads=1, device="cpu", memory_bytes=0, progress=lambda _done, _total: None)
