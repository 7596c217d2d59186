"""Text that cannot fit is refused before much of it is tokenised; text that fits never is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.engines.text_limit import FREE_BYTES, MAX_TOKEN_BYTES, PIECE_CHARS, refuse_hopeless
from inference.engines.vocabulary import Vocabulary
from inference.errors import ContextLengthExceeded

from . import small_tokenizers

VOCABULARY = Vocabulary(small_tokenizers.byte_level())


def count(text: str) -> int:
    return len(VOCABULARY.encode(text, special=False))


class Counting:
    """Count words, and how much was read for it."""

    def __init__(self) -> None:
        self.read = 0

    def __call__(self, text: str) -> int:
        self.read += len(text)
        return len(text.split())


def test_it_reads_no_more_than_shows_that_a_text_is_too_long() -> None:
    reader = Counting()
    text = "a few words and then " * 20_000
    with pytest.raises(ContextLengthExceeded, match=r"more than \d+ tokens") as caught:
        refuse_hopeless([text], reader, 8192, "messages")
    assert caught.value.param == "messages"
    assert reader.read <= 8192 * 6 + 2 * PIECE_CHARS


def test_it_reads_nothing_of_what_has_more_than_text_ever_has() -> None:
    reader = Counting()
    with pytest.raises(ContextLengthExceeded, match="14000000 characters"):
        refuse_hopeless([" " * 14_000_000], reader, 8192, "messages")
    assert reader.read == 0


def test_it_adds_up_what_goes_into_one_context() -> None:
    texts = ["word " * 1_000] * 20
    refuse_hopeless(texts, Counting(), 21_000, "messages")
    with pytest.raises(ContextLengthExceeded, match="your input 3 resulted in"):
        refuse_hopeless(texts, Counting(), 1_000, "input", "input 3")


def test_one_long_word_is_left_to_the_tokenizer() -> None:
    refuse_hopeless(["x" * (MAX_TOKEN_BYTES * 512)], lambda _piece: 1, 512, "input")


@given(st.text(max_size=40), st.integers(1, 400))
def test_it_refuses_nothing_that_fits(word: str, times: int) -> None:
    text = word * times
    tokens = count(text)
    if len(text) <= max(FREE_BYTES, tokens * MAX_TOKEN_BYTES):
        refuse_hopeless([text], count, max(1, tokens), "prompt")
