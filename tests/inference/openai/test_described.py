"""What /api/schema says of /v1: every route, and what the parsers really take."""

import json
from typing import Any

import pytest

import hub.asgi  # noqa: F401 (it adds the routes of training)
from inference.api.app import ROUTES
from inference.errors import HubError
from inference.openai import (
    audio,
    bounded_json,
    chat,
    classify,
    completions,
    described,
    described_forms,
    embeddings,
    fine_tuning,
    uploads,
)

PATHS, COMPONENTS = described.document()
PARSERS: dict[str, Any] = {
    "/v1/chat/completions": chat.parse,
    "/v1/completions": completions.parse,
    "/v1/embeddings": embeddings.parse,
    "/v1/classify": classify.parse,
    "/v1/uploads": lambda data: uploads.create(bounded_json.parse_object(data)),
    "/v1/uploads/{upload_id}/complete": lambda data: uploads.complete(
        bounded_json.parse_object(data)
    ),
    "/v1/fine_tuning/jobs": lambda data: fine_tuning.create(bounded_json.parse_object(data)),
}
LEAST: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    "/v1/completions": {"model": "m", "prompt": "hi"},
    "/v1/embeddings": {"model": "m", "input": "hi"},
    "/v1/classify": {"model": "m", "input": "hi", "labels": ["a"]},
    "/v1/uploads": {"filename": "a", "purpose": "batch", "bytes": 1, "mime_type": "text/plain"},
    "/v1/uploads/{upload_id}/complete": {"part_ids": ["p"]},
    "/v1/fine_tuning/jobs": {"model": "m", "training_file": "f"},
}


def body_of(path: str) -> Any:
    (content,) = PATHS[path]["post"]["requestBody"]["content"].values()
    schema = content["schema"]
    return COMPONENTS[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def test_every_route_and_no_other_is_described() -> None:
    routes = {(method, route.path) for route in ROUTES for method in route.actions}
    assert routes == set(described.OPERATIONS)


def test_every_body_of_json_has_its_parser_here() -> None:
    with_json = {path for (_, path), one in described.OPERATIONS.items() if one.body}
    assert with_json == set(PARSERS)


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps([PATHS, COMPONENTS])
    named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert named <= set(COMPONENTS)
    assert len(named) > 20


@pytest.mark.parametrize("path", PARSERS)
class TestBodies:
    def test_what_is_required_is_enough(self, path: str) -> None:
        assert set(body_of(path)["required"]) == set(LEAST[path])
        PARSERS[path](json.dumps(LEAST[path]).encode())

    def test_each_required_field_is_missed(self, path: str) -> None:
        for name in LEAST[path]:
            given = {key: value for key, value in LEAST[path].items() if key != name}
            with pytest.raises(HubError) as told:
                PARSERS[path](json.dumps(given).encode())
            assert told.value.param == name

    def test_other_fields_are_refused_as_the_schema_says(self, path: str) -> None:
        assert body_of(path)["additionalProperties"] is False
        with pytest.raises(HubError):
            PARSERS[path](json.dumps(LEAST[path] | {"owner": "eve"}).encode())

    def test_each_value_of_a_list_of_choices_is_taken(self, path: str) -> None:
        for name, field in body_of(path)["properties"].items():
            for value in field.get("enum", []):
                PARSERS[path](json.dumps(LEAST[path] | {name: value}).encode())


@pytest.mark.parametrize("name", chat.REFUSED)
def test_what_is_not_offered_is_no_choice(name: str) -> None:
    allowed = body_of("/v1/chat/completions")["properties"][name]["enum"]
    assert "strange" not in allowed
    given = LEAST["/v1/chat/completions"] | {name: "strange"}
    with pytest.raises(HubError):
        chat.parse(json.dumps(given).encode())


@pytest.mark.parametrize("task", ["transcribe", "translate"])
def test_forms_name_the_fields_that_are_known(task: audio.Task) -> None:
    form = described_forms.of_audio(task)
    assert set(form["properties"]) == audio.KNOWN[task] | {"file"}
    assert set(described_forms.AUDIO) <= audio.KNOWN["transcribe"]
