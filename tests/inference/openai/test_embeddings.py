"""Embeddings: inputs in all their forms, both encodings, the batch's limits."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import wire
from inference.errors import HubError, InvalidValue
from inference.openai import embeddings, foreign_tokens


def parse(**fields: Any) -> embeddings.ParsedEmbedding:
    return embeddings.parse(json.dumps({"model": "m", "input": "hi", **fields}).encode())


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("hi", ["hi"]),
        (["a", "b"], ["a", "b"]),
        ([1, 2], [[1, 2]]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ],
)
def test_it_reads_every_form_of_input(given_: Any, expected: Any) -> None:
    assert parse(input=given_).body.inputs == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("input", ""),
        ("input", []),
        ("input", [""]),
        ("input", ["a", ""]),
        ("input", [[]]),
        ("input", [1, "a"]),
        ("input", [-1]),
        ("input", [1.5]),
        ("input", [{"text": "a"}, 1]),
        ("input", None),
        ("input", {}),
        ("input", ["x"] * 2049),
        ("input", [[1] * 300_001]),
        ("dimensions", 0),
        ("dimensions", -1),
        ("dimensions", "8"),
        ("dimensions", 10**9),
        ("encoding_format", "hex"),
        ("user", 1),
        ("foo", 1),
    ],
)
def test_it_names_what_it_refuses(name: str, value: Any) -> None:
    with pytest.raises(HubError) as caught:
        parse(**{name: value})
    assert caught.value.status == 400
    assert (caught.value.param or "").split("[")[0] == name


@pytest.mark.parametrize(
    ("value", "param"),
    [
        ([{}], "input[0]"),
        (["a", {"text": "a", "image": "aGVsbG8="}], "input[1]"),
        ([{"foo": 1}], "input[0].foo"),
        ([{"image": "no base64!"}], "input[0].image"),
        ([{"image_url": "file:///etc/passwd"}], "input[0].image_url"),
        ([{"image_url": {"url": "https://x", "foo": 1}}], "input[0].image_url.foo"),
        ([{"image": "aGVsbG8="}] * 65, "input[64].image"),
    ],
)
def test_it_names_the_place_of_a_wrong_image(value: Any, param: str) -> None:
    with pytest.raises(HubError) as caught:
        parse(input=value)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_images_and_texts_keep_their_order() -> None:
    url = "data:image/png;base64,aGVsbG8="
    mixed = ["a", {"image": "aGVsbG8="}, {"text": "b"}, {"image_url": {"url": url}}, {"image": url}]
    hello = wire.Image(b"hello")
    assert parse(input=mixed).body.inputs == ["a", hello, "b", hello, hello]
    assert parse(input={"image": "aGVsbG8="}).body.inputs == [hello]
    remote = parse(input=[{"image_url": "https://example.org/a"}, {"image": "aGVsbG8="}])
    assert remote.with_images({0: b"A"}).body.inputs == [wire.Image(b"A"), hello]


FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(FLOATS, FLOATS, FLOATS), min_size=1, max_size=4))
def test_both_encodings_hold_the_same_numbers(rows: list[tuple[float, ...]]) -> None:
    data = b"".join(struct.pack("<3f", *row) for row in rows)
    vectors = wire.Vectors(rows=len(rows), dimensions=3, data=data)
    done = [wire.Done(usage=wire.Usage(prompt_tokens=9))]
    answers = []
    for encoding in ("float", "base64"):
        encoder = embeddings.Encoder(parse(encoding_format=encoding), "real")
        encoder.add(vectors, 0)
        answers.append(json.loads(encoder.finish(done)))
    plain, packed = answers
    assert [tuple(entry["embedding"]) for entry in plain["data"]] == rows
    unpacked = [base64.b64decode(entry["embedding"]) for entry in packed["data"]]
    assert b"".join(unpacked) == data
    assert [entry["index"] for entry in plain["data"]] == list(range(len(rows)))
    assert plain["usage"] == {"prompt_tokens": 9, "total_tokens": 9}
    assert plain["model"] == "real"


@pytest.fixture
def vocabulary(tmp_path: Path) -> foreign_tokens.Vocabulary:
    words = [b"hello", b" w", b"orld", b"\xc3", b"\xa9"]
    lines = [base64.b64encode(word) + b" %d" % rank for rank, word in enumerate(words)]
    (tmp_path / "cl100k_base.tiktoken").write_bytes(b"\n".join(lines))
    return foreign_tokens.Vocabulary(tmp_path, "cl100k_base")


def test_it_turns_foreign_ids_into_text(vocabulary: foreign_tokens.Vocabulary) -> None:
    assert vocabulary.text([0, 1, 2, 3, 4, 100257], "input") == "hello worldé<|endoftext|>"


def test_it_names_an_id_that_is_not_there(vocabulary: foreign_tokens.Vocabulary) -> None:
    with pytest.raises(InvalidValue) as caught:
        vocabulary.text([7], "input")
    assert caught.value.param == "input"
    assert "7" in caught.value.message


def test_it_refuses_a_damaged_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "o200k_base.tiktoken").write_bytes(b"!!! 1\n")
    with pytest.raises(ValueError, match="no vocabulary"):
        foreign_tokens.Vocabulary(tmp_path, "o200k_base")
