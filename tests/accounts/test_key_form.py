"""What a key looks like, and what is refused without a lookup."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts import crypto

KEY = crypto.new_key().plaintext
PLACES = st.integers(len(crypto.PREFIX), len(KEY) - 1)


def test_it_is_prefix_id_secret_and_checksum() -> None:
    new = crypto.new_key()
    assert new.plaintext.startswith(f"hub_{new.public_id}")
    assert len(new.plaintext) == 4 + 12 + 43 + 6
    assert crypto.public_id_of(new.plaintext) == new.public_id


def test_it_carries_256_random_bits() -> None:
    assert 62**crypto.SECRET_CHARS >= 2**256
    drawn = {crypto.new_key().plaintext for _ in range(200)}
    assert len(drawn) == 200
    assert len({key[16:59] for key in drawn}) == 200


def test_it_keeps_its_plaintext_out_of_its_repr() -> None:
    new = crypto.new_key()
    assert new.plaintext not in repr(new)


@given(PLACES, st.sampled_from(crypto.ALPHABET))
def test_it_refuses_any_one_mistyped_character(place: int, letter: str) -> None:
    typed = KEY[:place] + letter + KEY[place + 1 :]
    assert (crypto.public_id_of(typed) is not None) == (typed == KEY)


@given(st.integers(len(crypto.PREFIX), len(KEY) - 2))
def test_it_refuses_two_swapped_neighbours(place: int) -> None:
    typed = KEY[:place] + KEY[place + 1] + KEY[place] + KEY[place + 2 :]
    assert (crypto.public_id_of(typed) is not None) == (typed == KEY)


@given(st.text(max_size=100))
def test_it_refuses_any_other_text(text: str) -> None:
    assert crypto.public_id_of(text) is None


@pytest.mark.parametrize(
    "text",
    [KEY + "\n", " " + KEY, KEY.upper(), KEY[:-1], KEY + "0", ""],
    ids=["line end", "space", "upper case", "shorter", "longer", "empty"],
)
def test_it_is_taken_as_a_whole(text: str) -> None:
    assert crypto.public_id_of(text) is None


@given(st.binary(min_size=1, max_size=64), st.binary(min_size=1, max_size=64))
def test_it_digests_under_the_pepper(one: bytes, other: bytes) -> None:
    same = crypto.digest(one, KEY) == crypto.digest(other, KEY)
    # Source: RFC 2104: shorter keys are padded with zeros.
    assert same == (one.ljust(64, b"\0") == other.ljust(64, b"\0"))
