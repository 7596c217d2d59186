"""docs/api.md names every parameter and every error code."""

from pathlib import Path

import pytest

from inference.errors import ERRORS
from inference.openai import audio, chat, completions, embeddings

DOCUMENT = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
FIELDS = {
    *chat.ChatRequest.__struct_fields__,
    *completions.CompletionRequest.__struct_fields__,
    *embeddings.EmbeddingRequest.__struct_fields__,
}


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_every_parameter(name: str) -> None:
    assert f"`{name}" in DOCUMENT


@pytest.mark.parametrize("name", sorted(audio.KNOWN["transcribe"]))
def test_every_field_of_a_form(name: str) -> None:
    assert f"`{name}" in DOCUMENT


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_error_code(code: str) -> None:
    assert f"`{code}`" in DOCUMENT
