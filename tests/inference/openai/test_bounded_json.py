"""The reader of JSON bodies refuses what is ambiguous, endless or dangerous, and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.errors import InvalidJSON, InvalidValue, RequestTooLarge
from inference.openai import bounded_json
from tests.inference.openai.refusals import refusal

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=30,
)


@given(VALUES)
def test_it_reads_what_json_writes(value: object) -> None:
    assert bounded_json.parse(json.dumps(value).encode()) == value
    assert bounded_json.parse(json.dumps(value, ensure_ascii=False).encode()) == value


@given(st.binary(max_size=200))
def test_it_raises_nothing_but_our_errors(data: bytes) -> None:
    error = refusal(lambda: bounded_json.parse_object(data))
    assert error is None or error.status in {400, 413}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1,]",
        "{'a': 1}",
        "NaN",
        '{"a": Infinity}',
        '{"a": -Infinity}',
        '{"a": 1e999}',
        '{"a": ' + "9" * 5000 + "}",
        '{"a": 1, "a": 2}',
        '{"x": {"b": 1, "b": 1}}',
        "[" * 100_000,
        "[" * 40 + "]" * 40,
        '{"a":' * 40 + "1" + "}" * 40,
        "[" + "1," * 1_000_001 + "1]",
        "\ufeff{}",
        '{"a": "\t"}',
    ],
)
def test_it_refuses(text: str) -> None:
    with pytest.raises(InvalidJSON):
        bounded_json.parse(text.encode())


@pytest.mark.parametrize("data", [b'{"a": "\xff"}', b'"\xed\xa0\x80"', "{}".encode("utf-16")])
def test_it_reads_utf8_only(data: bytes) -> None:
    with pytest.raises(InvalidJSON):
        bounded_json.parse(data)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (r'{"messages": [{"content": "a\ud800b"}]}', "messages[0].content"),
        (r'{"a": ["x", "\udfff"]}', "a[1]"),
        (r'{"user": "\u0000"}', "user"),
        (r'{"x": {"\u0000": 1}}', "x"),
    ],
)
def test_it_names_the_place_of_a_bad_string(text: str, place: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        bounded_json.parse(text.encode())
    assert caught.value.param == place


def test_it_takes_pairs_of_surrogates_and_escaped_backslashes() -> None:
    assert bounded_json.parse(rb'"\ud83d\ude00 \\ud800 \\u0000"') == "\U0001f600 \\ud800 \\u0000"


def test_it_takes_long_prose_with_many_commas() -> None:
    text = "a, " * 1_500_000
    assert bounded_json.parse(json.dumps({"a": text}).encode()) == {"a": text}


def test_it_takes_objects_only_where_one_is_needed() -> None:
    for data in (b"[]", b"1", b"null", b'"x"'):
        with pytest.raises(InvalidJSON):
            bounded_json.parse_object(data)


def test_it_refuses_too_many_bytes() -> None:
    with pytest.raises(RequestTooLarge):
        bounded_json.parse(b" " * 101, max_bytes=100)


MANY = 200_000  # what costs their square would not end before the test's own limit


def test_a_late_duplicate_among_many_keys_is_found_in_one_pass() -> None:
    keys = ",".join(f'"k{at}":0' for at in range(MANY))
    with pytest.raises(InvalidJSON, match=f"'k{MANY - 1}' is there twice"):
        bounded_json.parse(f'{{{keys},"k{MANY - 1}":0}}'.encode())


def test_a_string_that_never_ends_is_read_once() -> None:
    body = b'{"a":"' + b"," * 1_000_001 + b'","b":"' + b'\\"' * MANY
    for end in (b"", b"\\"):
        with pytest.raises(InvalidJSON):
            bounded_json.parse(body + end)


def test_a_long_key_is_not_written_out_for_each_value() -> None:
    zeros = ",".join(["0"] * MANY)
    body = f'{{"{"k" * 1_000_000}":[{zeros},"\\ud83d\\ude00"]}}'.encode()
    assert isinstance(bounded_json.parse(body), dict)


def test_it_names_a_deep_place_in_short() -> None:
    with pytest.raises(InvalidValue) as caught:
        bounded_json.parse(b'{"' + b"k" * 1000 + rb'":[1,{"b":"\u0000"}]}')
    assert caught.value.param == "k" * 60 + "[1].b"
