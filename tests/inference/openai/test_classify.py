"""Zero-shot classification: what it reads, refuses and writes."""

import json
from typing import Any

import numpy as np
import pytest

from inference import wire
from inference.errors import HubError
from inference.openai import classify


def parse(**fields: Any) -> classify.ParsedClassify:
    body = {"model": "m", "input": ["x"], "labels": ["a", "b"], **fields}
    return classify.parse(json.dumps(body).encode())


def test_it_reads_texts_and_images() -> None:
    body = parse(input=["x", {"image": "aGVsbG8="}], hypothesis_template="a {}").body
    assert body == wire.Classify(
        inputs=["x", wire.Image(b"hello")], labels=["a", "b"], template="a {}"
    )
    assert parse(input={"text": "x"}).body.template == "This is a photo of {}."


@pytest.mark.parametrize(
    ("name", "value", "param"),
    [
        ("input", [], "input"),
        ("input", [""], "input"),
        ("input", [1], "input[0]"),
        ("input", [{}], "input[0]"),
        ("input", ["x"] * 513, "input"),
        ("labels", [], "labels"),
        ("labels", [""], "labels[0]"),
        ("labels", ["a", "a"], "labels"),
        ("labels", [str(at) for at in range(257)], "labels"),
        ("hypothesis_template", "no place", "hypothesis_template"),
        ("hypothesis_template", "{} {}", "hypothesis_template"),
        ("classifier_id", "x", "classifier_id"),
    ],
)
def test_it_names_what_it_refuses(name: str, value: Any, param: str) -> None:
    with pytest.raises(HubError) as caught:
        parse(**{name: value})
    assert (caught.value.status, caught.value.param) == (400, param)


def test_it_writes_every_label_and_the_best() -> None:
    encoder = classify.Encoder(parse(), "m")
    data = np.array([[0.25, 0.75], [0.5, 0.5]], "<f4").tobytes()
    encoder.add(wire.Vectors(rows=2, dimensions=2, data=data), 0)
    answer = json.loads(encoder.finish([wire.Done(usage=wire.Usage(prompt_tokens=7))]))
    assert answer["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    first, second = answer["data"]
    assert (first["prediction"], first["score"], first["index"]) == ("b", 0.75, 0)
    assert [p["label"] for p in second["predictions"]] == ["a", "b"]
