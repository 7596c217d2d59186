"""Text completions: prompts in all their forms, choices, and their own log probabilities."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference import wire
from inference.errors import HubError
from inference.openai import completions, completions_reply, reply
from tests.inference.openai.refusals import refusal

HEAD = reply.head("cmpl", "m", "m@1")


def parse(**fields: Any) -> completions.ParsedCompletion:
    return completions.parse(json.dumps({"model": "m", "prompt": "hi", **fields}).encode())


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("hi", [wire.TextPrompt(text="hi")]),
        ("", [wire.TextPrompt(text="")]),
        (None, [wire.TextPrompt(text="")]),
        (["a", "b"], [wire.TextPrompt(text="a"), wire.TextPrompt(text="b")]),
        ([1, 2], [wire.TokenPrompt(tokens=[1, 2])]),
        ([[1], [2, 3]], [wire.TokenPrompt(tokens=[1]), wire.TokenPrompt(tokens=[2, 3])]),
    ],
)
def test_it_reads_every_form_of_prompt(prompt: Any, expected: list[wire.Prompt]) -> None:
    assert [body.prompt for body in parse(prompt=prompt).bodies] == expected


def test_it_defaults_to_sixteen_tokens() -> None:
    assert parse().bodies[0].sampling.max_tokens == 16


OUT_OF_RANGE: list[tuple[str, list[Any]]] = [
    ("prompt", [[], 1, [1, "a"], [[]], [-1], [[-1]], [1.5], [None], {}, [2**31], ["a"] * 129]),
    ("max_tokens", [-1, 0, "5", 1.5, 2**40]),
    ("logprobs", [-1, 6, True, "1"]),
    ("best_of", [0, 21, "1"]),
    ("echo", [1, "true"]),
    ("n", [0, 129]),
    ("suffix", [1, ["tail"]]),
    ("temperature", [3]),
    ("stop", [["a"] * 5]),
    ("stream_options", [{"include_usage": True}]),
    ("messages", [[]]),
    ("response_format", [{"type": "text"}]),
]


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in OUT_OF_RANGE for value in values]
)
def test_it_names_what_it_refuses(name: str, value: Any) -> None:
    with pytest.raises(HubError) as caught:
        parse(**{name: value})
    assert caught.value.status == 400
    assert (caught.value.param or "").split("[")[0] == name


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"best_of": 2, "n": 3}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"n": 50, "prompt": ["a", "b", "c"]}, "prompt"),
    ],
)
def test_it_checks_choices_together(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(HubError) as caught:
        parse(**fields)
    assert caught.value.param == param


def token(text: str, logprob: float | None, *tops: tuple[str, float]) -> wire.TokenLogprob:
    top = [wire.TopLogprob(t, p, t.encode()) for t, p in tops]
    return wire.TokenLogprob(text, logprob, text.encode(), top)


def test_it_shapes_log_probabilities() -> None:
    parsed = parse(logprobs=1, echo=True)
    encoder = completions_reply.PlainEncoder(parsed, HEAD)
    encoder.add(wire.Delta(text="hé", logprobs=[token("hé", None)]), 0)
    part = wire.TokenLogprob("\ufffd", -0.5, b"\xf0\x9f", [])
    rest = wire.TokenLogprob("\ufffd", -0.25, b"\x98\x80", [])
    encoder.add(wire.Delta(text="\U0001f600", logprobs=[part, rest]), 0)
    encoder.add(
        wire.Delta(text="!", logprobs=[token("!", -20000.0, ("?", -0.1))], finish_reason="length"),
        0,
    )
    choice = json.loads(encoder.finish([wire.Done()]))["choices"][0]
    assert choice["text"] == "hé\U0001f600!"
    assert choice["finish_reason"] == "length"
    assert choice["logprobs"] == {
        "text_offset": [0, 2, 3, 3],
        "token_logprobs": [None, -0.5, -0.25, -9999.0],
        "tokens": ["hé", "bytes:\\xf0\\x9f", "bytes:\\x98\\x80", "!"],
        "top_logprobs": [
            None,
            {"bytes:\\xf0\\x9f": -0.5},
            {"bytes:\\x98\\x80": -0.25},
            {"?": -0.1, "!": -9999.0},
        ],
    }


def test_it_keeps_the_likeliest_of_many() -> None:
    parsed = parse(best_of=3, n=2)
    assert (parsed.bodies[0].n, parsed.bodies[0].logprobs) == (3, 0)
    encoder = completions_reply.PlainEncoder(parsed, HEAD)
    for index, logprob in enumerate([-3.0, -1.0, -2.0]):
        text = f"choice {index}"
        encoder.add(
            wire.Delta(
                index=index, text=text, logprobs=[token(text, logprob)], finish_reason="stop"
            ),
            0,
        )
    choices = json.loads(encoder.finish([wire.Done()]))["choices"]
    assert [(c["index"], c["text"]) for c in choices] == [(0, "choice 1"), (1, "choice 2")]
    assert [c["logprobs"] for c in choices] == [None, None]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


@given(
    st.dictionaries(st.sampled_from(sorted(completions.CompletionRequest.__struct_fields__)), JSON)
)
def test_any_value_anywhere_is_read_or_refused(fields: dict[str, Any]) -> None:
    error = refusal(lambda: parse(**fields))
    assert error is None or error.status == 400


def test_a_suffix_stands_behind_each_text() -> None:
    parsed = parse(prompt=["a", "b"], suffix="tail")
    assert [body.prompt for body in parsed.bodies] == [
        wire.TextPrompt(text="a", suffix="tail"),
        wire.TextPrompt(text="b", suffix="tail"),
    ]
    longer = parse(prompt=["a", "b"], suffix="tail" * 100)
    assert longer.cost.prompt >= parsed.cost.prompt + 2 * 4 * 99
    assert parse(suffix="").bodies[0].prompt == parse().bodies[0].prompt


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"prompt": [1, 2], "suffix": "tail"}, "suffix"), ({"suffix": "tail", "echo": True}, "echo")],
)
def test_a_suffix_goes_with_texts_that_are_not_said_again(fields: Any, param: str) -> None:
    error = refusal(lambda: parse(**fields))
    assert error is not None
    assert (error.code, error.param) == ("unsupported_parameter", param)
