"""Every parameter of a chat request is honoured, without effect, or refused by name."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.errors import HubError
from inference.openai import chat
from tests.inference.openai.refusals import refusal

USER = {"role": "user", "content": "hi"}


def parse(**fields: Any) -> chat.ParsedChat:
    return chat.parse(json.dumps({"model": "m", "messages": [USER], **fields}).encode())


def refused(**fields: Any) -> HubError:
    with pytest.raises(HubError) as caught:
        parse(**fields)
    assert caught.value.status == 400
    return caught.value


# name: (a value, the wire field, what it becomes)
HONOURED: list[tuple[str, Any, str, Any]] = [
    ("max_tokens", 5, "max_tokens", 5),
    ("max_completion_tokens", 6, "max_tokens", 6),
    ("temperature", 0, "temperature", 0.0),
    ("temperature", 1.5, "temperature", 1.5),
    ("top_p", 0.5, "top_p", 0.5),
    ("top_k", 7, "top_k", 7),
    ("top_k", -1, "top_k", 0),
    ("min_p", 0.1, "min_p", 0.1),
    ("seed", -3, "seed", -3),
    ("stop", "END", "stop", ["END"]),
    ("stop", ["a", "b"], "stop", ["a", "b"]),
    ("presence_penalty", -2, "presence_penalty", -2.0),
    ("frequency_penalty", 2, "frequency_penalty", 2.0),
    ("repetition_penalty", 1.1, "repetition_penalty", 1.1),
    ("logit_bias", {"15": -100, "7": 3}, "logit_bias", {15: -100.0, 7: 3.0}),
    ("ignore_eos", True, "ignore_eos", True),
]
WITHOUT_EFFECT: list[tuple[str, Any]] = [
    ("user", "u"),
    ("metadata", {"a": "b"}),
    ("store", False),
    ("service_tier", "auto"),
    ("service_tier", "default"),
    ("safety_identifier", "s"),
    ("prompt_cache_key", "k"),
    ("prompt_cache_retention", "24h"),
    ("prompt_cache_options", {"mode": "implicit"}),
    ("tools", []),
    ("tool_choice", "none"),
    ("functions", []),
    ("function_call", "none"),
    ("response_format", {"type": "text"}),
    ("modalities", ["text"]),
    ("verbosity", "medium"),
    ("reasoning_effort", "none"),
]
REFUSED: list[tuple[str, Any]] = [
    ("tools", [{"type": "function", "function": {"name": "f"}}]),
    ("tool_choice", "auto"),
    ("tool_choice", {"type": "function", "function": {"name": "f"}}),
    ("parallel_tool_calls", True),
    ("functions", [{"name": "f"}]),
    ("function_call", "auto"),
    ("response_format", {"type": "json_object"}),
    ("response_format", {"type": "json_schema", "json_schema": {"name": "x"}}),
    ("modalities", ["text", "audio"]),
    ("audio", {"voice": "alloy", "format": "mp3"}),
    ("prediction", {"type": "content", "content": "x"}),
    ("web_search_options", {}),
    ("moderation", {"model": "omni-moderation-latest"}),
    ("verbosity", "low"),
    ("reasoning_effort", "high"),
    ("store", True),
    ("service_tier", "flex"),
]
OUT_OF_RANGE: list[tuple[str, list[Any]]] = [
    ("model", ["", 1, None, "x" * 300]),
    ("messages", [[], {}, "x", None, [1], [[]], [USER] * 5000]),
    ("max_tokens", [0, -1, 1.5, "5", True, 2**40, 10**30]),
    ("max_completion_tokens", [0, -1, 1.5, "5", True, 2**40]),
    ("temperature", [-0.1, 2.1, "1", True, [], 10**400]),
    ("top_p", [-0.1, 1.1, "1", True]),
    ("top_k", [-2, 0.5, "1", 10**9]),
    ("min_p", [-0.1, 1.1, "x"]),
    ("n", [0, -1, 129, 1.5, "1", True]),
    ("seed", [0.5, "1", 2**63, -(2**63) - 1]),
    ("stop", ["", [""], ["a"] * 5, 1, [1], "x" * 600, [["a"]]]),
    ("presence_penalty", [-2.1, 2.1, "0"]),
    ("frequency_penalty", [-2.1, 2.1, {}]),
    ("repetition_penalty", [0, -1, 11, "1"]),
    ("logit_bias", [[], {"a": 1}, {"1": 101}, {"1": -101}, {"-1": 0}, {str(2**40): 0}]),
    ("logit_bias", [{str(i): 0 for i in range(301)}, {"1": "x"}, {"1": None}, {"\u0661": 1}]),
    ("logprobs", [1, "true", 0]),
    ("top_logprobs", [-1, 21, 1.5, "2", True, 5]),
    ("stream", [1, "true"]),
    ("stream_options", [1, {"include_usage": 1}, {}]),
    ("ignore_eos", [1, "x"]),
    ("user", [1, "x" * 600]),
    ("metadata", [1, {"a": 1}, {str(i): "" for i in range(17)}, {"a": "x" * 600}]),
    ("safety_identifier", [1]),
    ("prompt_cache_key", [1]),
    ("prompt_cache_retention", [1]),
    ("prompt_cache_options", [1]),
    ("store", ["x", 1]),
    ("service_tier", ["best", 1]),
    ("tools", [1, {}, "x", True]),
    ("modalities", ["text", [1], []]),
    ("verbosity", ["loud", 1]),
    ("reasoning_effort", [1, "much"]),
    ("response_format", ["text", {}, {"type": "xml"}]),
]


@pytest.mark.parametrize(("name", "value", "field", "expected"), HONOURED)
def test_it_honours(name: str, value: Any, field: str, expected: Any) -> None:
    assert getattr(parse(**{name: value}).body.sampling, field) == expected


@pytest.mark.parametrize(("name", "value"), WITHOUT_EFFECT)
def test_it_accepts_what_has_no_effect(name: str, value: Any) -> None:
    assert parse(**{name: value}).body == parse().body


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_it_refuses_by_name_what_it_cannot_do(name: str, value: Any) -> None:
    error = refused(**{name: value})
    assert (error.code, error.param) == ("unsupported_parameter", name)


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in OUT_OF_RANGE for value in values]
)
def test_it_names_what_is_out_of_range(name: str, value: Any) -> None:
    error = refused(**{name: value})
    assert error.param is not None
    assert error.param.split(".")[0].split("[")[0] == name
    assert "msgspec" not in error.message


@pytest.mark.parametrize("name", [name for name, *_ in HONOURED] + [n for n, _ in WITHOUT_EFFECT])
def test_null_means_that_it_was_left_out(name: str) -> None:
    assert parse(**{name: None}).body == parse().body


@pytest.mark.parametrize("name", ["foo", "max_output_tokens", "chat_template", "api_base", ""])
def test_it_refuses_unknown_fields(name: str) -> None:
    error = refused(**{name: 1})
    assert (error.code, error.param) == ("unknown_parameter", name)


@pytest.mark.parametrize("name", ["model", "messages"])
def test_it_says_what_is_missing(name: str) -> None:
    body = {"model": "m", "messages": [USER]}
    del body[name]
    with pytest.raises(HubError) as caught:
        chat.parse(json.dumps(body).encode())
    assert (caught.value.code, caught.value.param) == ("missing_required_parameter", name)


def test_the_newer_limit_wins() -> None:
    assert parse(max_tokens=5, max_completion_tokens=9).body.sampling.max_tokens == 9


def test_no_nucleus_means_the_likeliest_token() -> None:
    for fields in ({"top_p": 0}, {"top_k": 1}):
        sampling = parse(temperature=1, **fields).body.sampling
        assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.0, 1.0, 0)


def test_it_reads_log_probabilities_and_choices() -> None:
    assert parse().body.logprobs is None
    assert parse(logprobs=False).body.logprobs is None
    assert parse(logprobs=True).body.logprobs == 0
    assert parse(logprobs=True, top_logprobs=20).body.logprobs == 20
    assert parse(n=3).body.n == 3


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "type", "text", "name"]), inner)
    ),
    max_leaves=8,
)
NAMES = sorted(chat.ChatRequest.__struct_fields__)


@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6))
def test_any_value_anywhere_is_read_or_refused(fields: dict[str, Any]) -> None:
    error = refusal(lambda: parse(**fields))
    assert error is None or error.status == 400
