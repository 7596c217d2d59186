"""docs/api.md names every parameter and every error code."""

import re
from pathlib import Path

import pytest

from inference.errors import ERRORS
from inference.model_settings import OPTIONS
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


@pytest.mark.parametrize("engine", sorted(OPTIONS))
def test_every_option_of_an_engine(engine: str) -> None:
    table = DOCUMENT.split("| engine | option | choices |")[1].split("\n\n")[0]
    told, current = set(), ""
    for line in table.splitlines()[2:]:
        _, engines, options, *_ = line.split("|")
        current = engines.strip() or current
        told |= {*re.findall(r"\w+", options)} if f"`{engine}`" in current else set()
    assert told == {*OPTIONS[engine].__struct_fields__}


@pytest.mark.parametrize("code", sorted(ERRORS))
def test_every_error_code(code: str) -> None:
    assert f"`{code}`" in DOCUMENT
