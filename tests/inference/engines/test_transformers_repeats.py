"""The same seeded or greedy request gets the same answer to the bit, whatever is kept of earlier ones."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from inference import wire

from . import tiny_models
from .driving import Answer, Driver
from .generating import ask_tokens, deltas_of, drive, some_tokens, usage_of

PROMPT = some_tokens(200, seed=5)
SEEDED = {"temperature": 0.8, "seed": 7}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.make(tmp_path_factory.mktemp("llama"), "llama")


@pytest.fixture
def driver(folder: Path) -> Iterator[Driver]:
    driver = drive(folder, dtype="bfloat16")
    yield driver
    driver.engine.close()


def told(answer: Answer) -> list[wire.TokenLogprob]:
    """Give the answer with its log probabilities: they show the smallest difference."""
    answer.wait()
    return [one for delta in deltas_of(answer) for one in delta.logprobs or []]


@pytest.mark.parametrize("rules", [{}, SEEDED], ids=["greedy", "seeded"])
def test_it_says_the_same_after_its_own_first_run(driver: Driver, rules: dict[str, float]) -> None:
    body = ask_tokens(PROMPT, 24, logprobs=5, **rules)
    first = told(driver.ask(body))
    again = [driver.ask(body) for _ in range(3)]
    assert [told(answer) for answer in again] == [first] * 3
    assert usage_of(again[0]).cached_tokens == 192


@pytest.mark.parametrize("shared", [40, 64, 150, 199])
def test_it_says_the_same_after_others_that_begin_alike(driver: Driver, shared: int) -> None:
    body = ask_tokens(PROMPT, 24, logprobs=5)
    cold = told(driver.ask(body))
    driver.engine._memory.forget()  # type: ignore[attr-defined]
    other = [*PROMPT[:shared], *some_tokens(300, seed=9)]
    driver.ask(ask_tokens(other, 30, temperature=1.0))
    driver.ask(ask_tokens(other, 30))
    assert told(driver.ask(body)) == cold


def test_it_says_the_same_after_running_beside_others(driver: Driver) -> None:
    body = ask_tokens(PROMPT, 24, logprobs=5)
    cold = told(driver.ask(body))
    driver.engine._memory.forget()  # type: ignore[attr-defined]
    crowd = [driver.start(ask_tokens(PROMPT, 24, temperature=1.0)) for _ in range(3)]
    for answer in [*crowd, driver.start(body)]:
        answer.wait()
    assert told(driver.ask(body)) == cold


def test_an_answer_without_a_seed_reuses_every_token(driver: Driver) -> None:
    driver.ask(ask_tokens(PROMPT, 10))
    again = driver.ask(ask_tokens(PROMPT, 10, temperature=1.0))
    assert usage_of(again).cached_tokens == len(PROMPT) - 1
