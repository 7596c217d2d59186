"""Sentence embeddings with the real MiniLM."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from inference import wire
from inference.engines.embed_loop import LARGE_CHARS
from inference.engines.embed_text import EmbedText
from inference.errors import LoadFailed
from tests import models
from tests.inference.engines.driving import Answer, Driver

pytestmark = pytest.mark.models


def spec(path: Path, context_tokens: int = 0) -> wire.ModelSpec:
    return wire.ModelSpec(
        name="minilm",
        kind="embed",
        engine="embed_text",
        path=str(path),
        context_tokens=context_tokens,
    )


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    driver = Driver(EmbedText(), spec(models.minilm()))
    yield driver
    driver.engine.close()


def matrix(answer: Answer) -> np.ndarray:
    (vectors,) = answer.of(wire.Vectors)
    return np.frombuffer(vectors.data, "<f4").reshape(vectors.rows, vectors.dimensions)


def embed(driver: Driver, *inputs: str | list[int], dimensions: int | None = None) -> np.ndarray:
    return matrix(driver.ask(wire.Embed(inputs=list(inputs), dimensions=dimensions)))


def test_it_says_what_it_loaded(driver: Driver) -> None:
    loaded = driver.loaded
    assert loaded.weights_bytes == 90_852_864  # the safetensors' own tensors
    assert loaded.memory_bytes > loaded.weights_bytes
    assert (loaded.dtype, loaded.context_tokens) == ("float32", 256)
    assert driver.progress[0][0] == 0
    assert driver.progress[-1][0] == driver.progress[-1][1] > 0


def test_it_places_kittens_near_cats(driver: Driver) -> None:
    cat, kitten, car = embed(driver, "a cat", "a kitten", "a car")
    assert cat @ kitten > 0.7
    assert cat @ kitten > cat @ car + 0.2
    assert np.linalg.norm(cat) == pytest.approx(1.0, abs=1e-5)


def test_a_batch_equals_singles(driver: Driver) -> None:
    texts = ["short", "a sentence of some length, with a comma", "mèo con " * 40, "🐈", "x"]
    together = embed(driver, *texts)
    alone = np.stack([embed(driver, text)[0] for text in texts])
    np.testing.assert_allclose(together, alone, atol=2e-6)


def test_requests_that_arrive_together_are_computed_together(driver: Driver) -> None:
    expected = [embed(driver, f"request number {i}")[0] for i in range(40)]
    before = driver.engine.stats()
    gate = driver.start(wire.Embed(inputs=["long text " * 100] * 8))  # busy while the others arrive
    answers = [driver.start(wire.Embed(inputs=[f"request number {i}"])) for i in range(40)]
    for answer, vector in zip(answers, expected, strict=True):
        answer.wait()
        np.testing.assert_allclose(matrix(answer)[0], vector, atol=2e-6)
    gate.wait()
    assert driver.engine.stats().steps_total - before.steps_total < 24


def test_a_small_request_does_not_wait_for_a_large_one(driver: Driver) -> None:
    large = driver.start(wire.Embed(inputs=["word " * 200] * 100))
    small = driver.ask(wire.Embed(inputs=["hello"]))
    assert not large.ended
    assert small.of(wire.Vectors)
    driver.engine.cancel(large.stream)
    large.wait()


def test_it_takes_ids_of_its_own_vocabulary(driver: Driver) -> None:
    text, bare, wrapped = embed(driver, "hello", [7592], [101, 7592, 102])
    np.testing.assert_allclose(text, bare, atol=1e-6)
    np.testing.assert_allclose(text, wrapped, atol=1e-6)


@pytest.mark.parametrize("ids", [[], [30522], [-1]])
def test_it_refuses_ids_that_are_not_its_own(driver: Driver, ids: list[int]) -> None:
    failure = driver.failure(wire.Embed(inputs=["ok", ids]))
    assert (failure.code, failure.param) == ("invalid_value", "input")
    assert "30521" in failure.message


def test_special_tokens_in_text_are_text(driver: Driver) -> None:
    plain = driver.ask(wire.Embed(inputs=["[SEP]"])).wait()
    assert plain.usage.prompt_tokens == 5  # [CLS] [ sep ] [SEP], not [CLS] [SEP] [SEP]


def test_dimensions_truncate_and_renormalise(driver: Driver) -> None:
    whole = embed(driver, "a cat")[0]
    cut = embed(driver, "a cat", dimensions=100)[0]
    assert cut.shape == (100,)
    np.testing.assert_allclose(cut, whole[:100] / np.linalg.norm(whole[:100]), atol=1e-6)


@pytest.mark.parametrize("dimensions", [0, 385])
def test_it_refuses_more_dimensions_than_it_has(driver: Driver, dimensions: int) -> None:
    failure = driver.failure(wire.Embed(inputs=["a"], dimensions=dimensions))
    assert (failure.code, failure.param) == ("invalid_value", "dimensions")


def test_too_long_an_input_is_refused_before_anything_is_computed(driver: Driver) -> None:
    before = driver.engine.stats().steps_total
    failure = driver.failure(wire.Embed(inputs=["fits", "word " * 255]))
    assert failure.code == "context_length_exceeded"
    assert "257" in failure.message
    assert "256" in failure.message
    assert driver.engine.stats().steps_total == before
    assert driver.ask(wire.Embed(inputs=["word " * 254])).wait().usage.prompt_tokens == 256


def test_it_counts_usage(driver: Driver) -> None:
    before = driver.engine.stats().prompt_tokens_total
    done = driver.ask(wire.Embed(inputs=["hello", "hello world"])).wait()
    assert done.usage.prompt_tokens == 3 + 4
    assert driver.engine.stats().prompt_tokens_total - before == 7


def test_a_cancel_stops_the_work(driver: Driver) -> None:
    before = driver.engine.stats()
    answer = driver.start(wire.Embed(inputs=["word " * 200] * 500))
    driver.engine.cancel(answer.stream)
    done = answer.wait()
    assert isinstance(done, wire.Done)
    assert done.usage.prompt_tokens < 500 * 202
    assert answer.of(wire.Vectors) == []
    driver.ask(wire.Embed(inputs=["next"]))
    after = driver.engine.stats()
    assert after.cancelled_total == before.cancelled_total + 1
    assert after.prompt_tokens_total - before.prompt_tokens_total < 500 * 202
    assert after.running == 0


def test_the_probe_computes_one_real_vector(driver: Driver) -> None:
    before = driver.engine.stats().steps_total
    answer = driver.ask(wire.Probe())
    assert [type(frame) for frame in answer.frames] == [wire.Done]
    assert driver.engine.stats().steps_total == before + 1


def test_it_refuses_other_work(driver: Driver) -> None:
    failure = driver.failure(wire.Generate(prompt=wire.TextPrompt(text="hi")))
    assert failure.code == "unsupported_model"


def copy_with(tmp_path: Path, pooling: dict[str, bool], modules: list[tuple[str, str]]) -> Path:
    """Copy the model with other pooling settings."""
    folder = shutil.copytree(models.minilm(), tmp_path / "model")
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    kinds = [
        {"type": f"sentence_transformers.models.{name}", "path": path} for name, path in modules
    ]
    (folder / "modules.json").write_text(json.dumps(kinds))
    return folder


POOLED = [("Transformer", ""), ("Pooling", "1_Pooling")]


def test_it_honours_the_folders_pooling(tmp_path: Path, driver: Driver) -> None:
    both = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    other = Driver(EmbedText(), spec(copy_with(tmp_path, both, POOLED), context_tokens=512))
    joined = embed(other, "a cat")[0]
    other.engine.close()
    assert joined.shape == (768,)
    assert other.loaded.context_tokens == 512
    mean = joined[384:] / np.linalg.norm(joined[384:])  # no Normalize module here
    np.testing.assert_allclose(mean, embed(driver, "a cat")[0], atol=1e-6)


def test_it_refuses_a_pipeline_it_cannot_follow(tmp_path: Path) -> None:
    folder = copy_with(tmp_path, {}, [*POOLED, ("Dense", "2_Dense")])
    with pytest.raises(LoadFailed, match="Dense"):
        Driver(EmbedText(), spec(folder))


def test_it_fails_what_is_left_when_it_closes() -> None:
    driver = Driver(EmbedText(), spec(models.minilm()))
    answer = driver.start(wire.Embed(inputs=["word " * 200] * 200))
    driver.engine.close()
    assert answer.wait().code == "engine_failed"
    assert driver.failure(wire.Embed(inputs=["late"])).code == "engine_failed"


def test_a_small_request_passes_a_large_one_that_came_first(driver: Driver) -> None:
    large = driver.start(wire.Embed(inputs=["some words for a long list of inputs"] * 1_500))
    assert matrix(driver.ask(wire.Embed(inputs=["small"]))).shape == (1, 384)
    assert not large.ended
    driver.engine.cancel(large.stream)
    assert isinstance(large.wait(), wire.Done)


def test_a_large_request_is_answered_like_small_ones(driver: Driver) -> None:
    texts = [f"sentence number {at} of a large request " * 10 for at in range(100)]
    assert sum(map(len, texts)) > LARGE_CHARS
    alone = embed(driver, texts[42])
    assert np.allclose(embed(driver, *texts)[42], alone[0], atol=1e-4)


def test_a_large_request_may_be_wrong_in_every_way(driver: Driver) -> None:
    failure = driver.failure(wire.Embed(inputs=["fine", "far too long " * 1_000_000]))
    assert failure.code == "context_length_exceeded"
    assert "input 1" in failure.message
    failure = driver.failure(wire.Embed(inputs=["word " * 200] * 2_048))
    assert "300000 tokens" in failure.message
    failure = driver.failure(wire.Embed(inputs=[[10**9] * 40_000]))
    assert failure.param == "input"


def test_it_ends_what_it_still_reads_when_it_closes() -> None:
    driver = Driver(EmbedText(), spec(models.minilm()))
    answers = [driver.start(wire.Embed(inputs=["word " * 200] * 300)) for _ in range(4)]
    driver.engine.close()
    assert all(isinstance(answer.wait(), wire.Failure) for answer in answers)
