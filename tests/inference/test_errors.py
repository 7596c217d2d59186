"""Errors: what their messages look like to clients."""

import json

import pytest

from inference.errors import InvalidValue, as_sentence
from inference.openai.errors import envelope


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("there is no model `x`", "There is no model `x`."),
        ("It does not fit.", "It does not fit."),
        ("gpt-4o is not there", "gpt-4o is not there."),
        ("max_tokens is too large", "max_tokens is too large."),
        ("files: choose one", "files: choose one."),
        ("is it there?", "Is it there?"),
        ("use http://127.0.0.1:8000/v1", "Use http://127.0.0.1:8000/v1"),
        ("say it (python3 manage.py doctor)", "Say it (python3 manage.py doctor)."),
        ("", ""),
    ],
)
def test_a_message_is_a_sentence(text: str, sentence: str) -> None:
    assert as_sentence(text) == as_sentence(as_sentence(text)) == sentence


def test_clients_read_sentences() -> None:
    body = json.loads(envelope(InvalidValue("a name is too long", param="name")))
    assert body["error"]["message"] == "A name is too long."
