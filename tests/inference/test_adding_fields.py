"""What a request to add a model says is obeyed or refused, never dropped."""

import pytest

from inference import entries
from inference.management import serializers


def wrong(**body: object) -> dict[str, list[str]]:
    asked = serializers.AddRequest(data={"name": "new", **body})
    asked.is_valid()
    return {name: [str(one) for one in found] for name, found in asked.errors.items()}


@pytest.mark.parametrize(
    ("source", "field"),
    [("local", "engine"), ("local", "base"), ("adapter", "copy"), ("huggingface", "path")],
)
def test_a_field_of_another_source_is_refused(source: str, field: str) -> None:
    value = True if field == "copy" else "x"
    assert wrong(source=source, **{field: value}) == {
        field: [f"source `{source}` does not take it"]
    }


@pytest.mark.parametrize("source", entries.SOURCES)
def test_each_source_takes_its_own_fields(source: str) -> None:
    values = {"copy": True, "files": ["*.gguf"]}
    given = {name: values.get(name, "x") for name in serializers.FIELDS_OF[source]}
    assert wrong(source=source, tags=["a"], settings={"pinned": True}, **given) == {}
