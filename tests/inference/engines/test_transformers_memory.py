"""Under a tight memory limit everybody is still answered, rightly, one after the other if need be."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference import wire
from inference.engines.base import Setting
from inference.engines.llm_transformers import LlmTransformers
from inference.engines.vocabulary import Vocabulary
from inference.errors import HubError, LoadFailed, OutOfMemory

from . import small_tokenizers, tiny_models
from .driving import Driver
from .generating import ask_tokens, drive, shown, some_tokens, text_of, usage_of
from .tiny_models import Reference

VOCABULARY = Vocabulary(small_tokenizers.byte_level())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.make(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture
def driver(folder: Path) -> Iterator[Driver]:
    driver = drive(folder)
    yield driver
    driver.engine.close()


def tighten(driver: Driver, tokens: int) -> None:
    """Leave room for the keys and values of so many tokens."""
    memory = driver.engine._memory  # type: ignore[attr-defined]
    token_bytes = driver.engine._decoder.layout.token_bytes  # type: ignore[attr-defined]
    memory.forget()
    memory.limit(tokens * token_bytes, tokens * token_bytes // 4)


def test_it_answers_rightly_when_sequences_must_give_way(folder: Path, driver: Driver) -> None:
    reference = Reference(folder)
    tighten(driver, 4 * 128 + 4 * 256 + 700)
    prompts = [some_tokens(90 + at, seed=at) for at in range(8)]
    answers = [driver.start(ask_tokens(prompt, 60)) for prompt in prompts]
    for answer, prompt in zip(answers, prompts, strict=True):
        usage = usage_of(answer)
        assert (usage.prompt_tokens, usage.completion_tokens) == (len(prompt), 60)
        assert text_of(answer) == shown(VOCABULARY, reference.greedy(prompt, 60))


def test_it_refuses_a_sequence_that_can_never_fit(driver: Driver) -> None:
    tighten(driver, 4 * 128 + 100)
    failure = driver.failure(ask_tokens(some_tokens(300), 10))
    assert failure.code == "context_length_exceeded"
    assert "300 tokens" in failure.message
    growing = driver.failure(ask_tokens(some_tokens(60), 300))
    assert growing.code == "context_length_exceeded"
    assert usage_of(driver.ask(ask_tokens(some_tokens(60), 10))).completion_tokens == 10


def load_error(folder: Path, **spec: object) -> HubError:
    with pytest.raises(HubError) as caught:
        drive(folder, **spec)
    return caught.value


def test_it_says_why_a_folder_cannot_be_loaded(folder: Path, tmp_path: Path) -> None:
    assert "no config.json" in load_error(tmp_path).message
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    error = load_error(tmp_path)
    assert isinstance(error, LoadFailed)
    assert "pickled weights are never loaded" in error.message
    index = {"weight_map": {"a": "../other.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "lacks the weight files" in load_error(tmp_path).message
    assert "dtype" in load_error(folder, dtype="int3").message


def test_it_refuses_to_start_without_room_for_an_answer(folder: Path) -> None:
    spec = wire.ModelSpec(name="t", kind="llm", engine="llm_transformers", path=str(folder))
    engine = LlmTransformers()
    with pytest.raises(OutOfMemory):
        engine.load(spec, Setting(1, "cpu", 1_000_000, lambda _done, _total: None))
    engine.close()


def test_it_tells_its_progress_and_what_it_loaded(driver: Driver) -> None:
    done = [loaded for loaded, _ in driver.progress]
    assert done == sorted(done)
    assert driver.progress[-1][0] == driver.progress[-1][1] > 0
    loaded = driver.loaded
    assert (loaded.device, loaded.dtype, loaded.context_tokens) == ("cpu", "float32", 512)
    assert 0 < loaded.weights_bytes <= driver.progress[-1][1]


def test_it_keeps_to_the_context_of_the_spec(folder: Path) -> None:
    driver = drive(folder, context_tokens=64)
    try:
        assert driver.loaded.context_tokens == 64
        assert driver.failure(ask_tokens(some_tokens(60), 5)).code == "context_length_exceeded"
    finally:
        driver.engine.close()


def test_a_long_prompt_stalls_nobody(driver: Driver) -> None:
    running = driver.start(ask_tokens(some_tokens(5), 400))
    running.wait_for(lambda: bool(running.frames))
    long = driver.start(ask_tokens(some_tokens(500), 5))
    before = len(running.frames)
    long.wait_for(lambda: bool(long.frames))
    assert len(running.frames) - before >= 3
    assert usage_of(long).completion_tokens == 5
