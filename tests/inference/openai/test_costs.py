"""What limits reserve for a request: tokenizers make no more of it."""

import pytest

from inference.api import excess
from inference.api.meter import Served
from inference.openai import costs
from inference.openai.costs import Cost
from tests.inference.engines import small_tokenizers

TEXTS = [
    "hi",
    "1234567890" * 9,
    "a b" * 50,
    "xin chào thế giới",
    "\u4e16\u754c \U0001f600\ufdfa\u33ce",
    "\n\t" * 30,
]


@pytest.mark.parametrize("text", TEXTS)
def test_no_tokenizer_makes_more_of_a_text(text: str) -> None:
    tokens = small_tokenizers.byte_level().encode(text)
    assert len(tokens) <= costs.of_text(text)


def test_characters_that_are_written_out_count_as_they_are_then() -> None:
    assert costs.of_text("\ufdfa") > len("\ufdfa".encode())  # one character, a sentence of 18


def test_an_open_answer_wishes_for_the_context_and_is_held_to_what_it_got() -> None:
    cost = Cost(100, prompts=1, choices=1, answer=None).within(2048)
    assert (cost.tokens, cost.most) == (101, 2048)
    assert cost.room(2048) is None
    assert cost.room(500) == 400
    assert Cost(5000, prompts=1, choices=1, answer=8).within(2048).prompt == 2048


def test_only_what_one_engine_counts_may_cost_less_than_its_bound() -> None:
    assert Cost(400, prompts=1, choices=2, answer=5).least == 110
    assert Cost(400, usual=20).least == 20  # audio, whose bound is that of its bytes
    for cost in (
        Cost(400, prompts=2, choices=2, answer=5),
        Cost(400, prompts=1, choices=2, answer=5, strict=True),
        Cost(400, usual=20, strict=True),
        Cost(400),
    ):
        assert cost.least == cost.tokens


def test_of_two_open_choices_each_gets_half() -> None:
    assert Cost(100, prompts=1, choices=2, answer=None).within(2048).room(500) == 200


def test_what_a_template_adds_beyond_the_bound_is_learned() -> None:
    """Only of prompts: an input that became a vector has no template."""
    cost = Cost(80, prompts=1, choices=1, answer=2)
    assert excess.learn("wordy", cost, Served(prompt_tokens=500))
    assert excess.added(cost, "wordy").prompt == 500
    assert not excess.learn("wordy", excess.added(cost, "wordy"), Served(prompt_tokens=300))
    assert excess.added(cost, "wordy").prompt == 500
    excess.learn("other", Cost(80), Served(prompt_tokens=500))
    assert excess.added(cost, "other").prompt == 80
