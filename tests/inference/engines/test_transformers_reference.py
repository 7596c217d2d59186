"""Greedy answers are transformers' own, token for token, alone and in any company."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.engines.hf_decoder import HfDecoder
from inference.engines.llama_decoder import LlamaDecoder
from inference.engines.vocabulary import Vocabulary

from . import small_tokenizers, tiny_models
from .driving import Driver
from .generating import ask_tokens, drive, named, said, shown, some_tokens, text_of, usage_of
from .tiny_models import Reference

FAST = {"llama", "llama3", "mistral", "qwen2", "qwen3"}
VOCABULARY = Vocabulary(small_tokenizers.byte_level())


@pytest.fixture(scope="module", params=list(tiny_models.KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.make(tmp_path_factory.mktemp(kind), kind)


@pytest.fixture(scope="module")
def reference(folder: Path) -> Reference:
    return Reference(folder)


@pytest.fixture
def driver(folder: Path) -> Iterator[Driver]:
    driver = drive(folder)
    yield driver
    driver.engine.close()


def test_it_takes_the_right_path(driver: Driver, kind: str) -> None:
    decoder = driver.engine._decoder  # type: ignore[attr-defined]
    if kind in FAST:
        assert isinstance(decoder, LlamaDecoder)
    else:
        assert isinstance(decoder, HfDecoder)
        assert decoder.together == (kind != "bloom")


@pytest.mark.parametrize("length", [1, 17, 140])
def test_it_says_what_transformers_says(driver: Driver, reference: Reference, length: int) -> None:
    prompt = some_tokens(length, seed=length)
    expected = reference.greedy(prompt, 40)
    answer = driver.ask(ask_tokens(prompt, 40, logprobs=0))
    assert said(answer) == named(VOCABULARY, expected)
    plain = driver.ask(ask_tokens(prompt, 40))
    assert text_of(plain) == shown(VOCABULARY, expected)


def test_it_says_the_same_in_company_that_comes_and_goes(
    driver: Driver, reference: Reference
) -> None:
    plans = [(3, 60), (30, 5), (150, 30), (9, 90), (64, 20), (5, 1), (200, 12), (12, 33)]
    bodies = [(some_tokens(length, seed=at), count) for at, (length, count) in enumerate(plans)]
    first = [driver.start(ask_tokens(tokens, count)) for tokens, count in bodies[:4]]
    first[1].wait()
    second = [driver.start(ask_tokens(tokens, count)) for tokens, count in bodies[4:]]
    for answer, (tokens, count) in zip([*first, *second], bodies, strict=True):
        answer.wait()
        assert text_of(answer) == shown(VOCABULARY, reference.greedy(tokens, count))
        assert usage_of(answer).completion_tokens == count


def test_it_says_the_same_after_a_kept_prefix(driver: Driver, reference: Reference) -> None:
    likeliest = {"temperature": 1.0, "top_k": 1}  # greedy, but not asked to be repeatable
    prompt = some_tokens(50, seed=7)
    answer = driver.ask(ask_tokens(prompt, 20, **likeliest))
    assert usage_of(answer).cached_tokens == 0
    turn = [*prompt, *reference.greedy(prompt, 20), *some_tokens(9, seed=8)]
    again = driver.ask(ask_tokens(turn, 20, **likeliest))
    assert usage_of(again).cached_tokens == 69
    assert text_of(again) == shown(VOCABULARY, reference.greedy(turn, 20))
    partly = [*turn[:40], *some_tokens(30, seed=9)]
    third = driver.ask(ask_tokens(partly, 20, **likeliest))
    assert usage_of(third).cached_tokens == 40
    assert text_of(third) == shown(VOCABULARY, reference.greedy(partly, 20))
