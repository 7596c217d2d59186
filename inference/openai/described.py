"""Every operation under /v1 in OpenAPI 3.1, made of the structs that read and write it; pure.

`hub.v1_schema` puts it into /api/schema. A new route needs its line in `OPERATIONS`.
"""

import re
from typing import Any, NamedTuple

import msgspec

from inference.openai import chat, classify, completions, embeddings, files, fine_tuning
from inference.openai import described_forms as forms
from inference.openai.audio_reply import Transcription, Verbose
from inference.openai.chat_reply import ChatCompletion
from inference.openai.completions_reply import Completion
from inference.openai.models import ModelEntry, ModelList
from inference.openai.uploads import Complete, PartEntry, UploadEntry
from inference.openai.uploads import Create as CreateUpload

Schema = dict[str, Any]
JSON, FORM, EVENTS = "application/json", "multipart/form-data", "text/event-stream"
PREFIX = "V1."  # names under /api/v1 have none
REF = "#/components/schemas/" + PREFIX + "{name}"
TEXT: Schema = {"type": "string"}
ANY_OBJECT: Schema = {"type": "object"}


class Operation(NamedTuple):
    summary: str
    answer: type | Schema
    body: type | None = None
    form: Schema | None = None
    query: type | None = None
    without: tuple[str, ...] = ()  # of the query's fields
    other: tuple[str, ...] = ()  # types of content beside JSON
    verbose: type | None = None  # an answer of another form, for whoever asks for it


_JOB = "/v1/fine_tuning/jobs/{job_id}"
_SPEECH = ("text/plain", "text/vtt")
OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "/v1/chat/completions"): Operation(
        "Answer a conversation", ChatCompletion, chat.ChatRequest, other=(EVENTS,)
    ),
    ("POST", "/v1/completions"): Operation(
        "Continue a text", Completion, completions.CompletionRequest, other=(EVENTS,)
    ),
    ("POST", "/v1/embeddings"): Operation(
        "Turn texts and images into vectors", embeddings.EmbeddingList, embeddings.EmbeddingRequest
    ),
    ("POST", "/v1/classify"): Operation(
        "Sort texts and images under labels", classify.ClassificationList, classify.ClassifyRequest
    ),
    ("POST", "/v1/audio/transcriptions"): Operation(
        "Write down speech",
        Transcription,
        verbose=Verbose,
        form=forms.of_audio("transcribe"),
        other=(*_SPEECH, EVENTS),
    ),
    ("POST", "/v1/audio/translations"): Operation(
        "Write down speech in English",
        Transcription,
        verbose=Verbose,
        form=forms.of_audio("translate"),
        other=_SPEECH,
    ),
    ("GET", "/v1/models"): Operation("List models and their names", ModelList),
    ("GET", "/v1/models/{model*}"): Operation("Show one of them", ModelEntry),
    ("GET", "/v1/files"): Operation("List files", files.Page, query=files.Query),
    ("POST", "/v1/files"): Operation("Bring a file", files.FileEntry, form=forms.FILE),
    ("GET", "/v1/files/{file_id}"): Operation("Show a file", files.FileEntry),
    ("DELETE", "/v1/files/{file_id}"): Operation("Remove a file", files.Deleted),
    ("GET", "/v1/files/{file_id}/content"): Operation(
        "Read a file", ANY_OBJECT, other=("application/octet-stream",)
    ),
    ("POST", "/v1/uploads"): Operation("Begin a file in parts", UploadEntry, CreateUpload),
    ("POST", "/v1/uploads/{upload_id}/parts"): Operation(
        "Bring a part", PartEntry, form=forms.PART
    ),
    ("POST", "/v1/uploads/{upload_id}/complete"): Operation("Join parts", UploadEntry, Complete),
    ("POST", "/v1/uploads/{upload_id}/cancel"): Operation("Give it up", UploadEntry),
    ("GET", "/v1/fine_tuning/jobs"): Operation("List jobs", files.Page, query=fine_tuning.Query),
    ("POST", "/v1/fine_tuning/jobs"): Operation("Train", ANY_OBJECT, fine_tuning.Create),
    ("GET", _JOB): Operation("Show a job", ANY_OBJECT),
    ("GET", f"{_JOB}/events"): Operation(
        "List what happened", files.Page, query=fine_tuning.Query, without=("metadata",)
    ),
    ("GET", f"{_JOB}/checkpoints"): Operation(
        "List its checkpoints", files.Page, query=fine_tuning.Query, without=("metadata",)
    ),
    ("POST", f"{_JOB}/cancel"): Operation("Stop a job", ANY_OBJECT),
    ("POST", f"{_JOB}/pause"): Operation("Pause a job", ANY_OBJECT),
    ("POST", f"{_JOB}/resume"): Operation("Go on with a job", ANY_OBJECT),
}
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"apiKey": []}]
_ERROR = {"$ref": REF.format(name="Error")}
ERROR: Schema = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": TEXT,
                "type": TEXT,
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
                "details": ANY_OBJECT,
            },
        }
    },
}


def document() -> tuple[dict[str, Schema], dict[str, Schema]]:
    """Give paths and components."""
    types = _types()
    shapes, components = msgspec.json.schema_components(types, ref_template=REF)
    of = dict(zip(types, shapes, strict=True))
    for shape, fields in _narrower().items():
        name = of[shape]["$ref"].removeprefix(REF.format(name=""))
        components[name]["properties"].update(fields)
    paths: dict[str, Schema] = {}
    for (method, path), one in OPERATIONS.items():
        paths.setdefault(path.replace("*}", "}"), {})[method.lower()] = _operation(path, one, of)
    return paths, {PREFIX + name: shape for name, shape in (components | {"Error": ERROR}).items()}


def _types() -> list[Any]:
    named = [
        part
        for one in OPERATIONS.values()
        for part in (one.body, one.answer, one.query, one.verbose)
    ]
    return list(dict.fromkeys(part for part in named if part and not isinstance(part, dict)))


def _narrower() -> dict[Any, dict[str, Schema]]:
    """Say what the parsers refuse beyond the types of their structs."""
    refused = {name: _only(*values, why=why) for name, (values, why) in chat.REFUSED.items()}
    common = {"store": _only(False, why="answers are not stored")}
    common["service_tier"] = _only("auto", "default", why="there is one tier")
    return {
        chat.ChatRequest: refused | common,
        completions.CompletionRequest: common,
        CreateUpload: {"purpose": {"enum": list(files.PURPOSES)}},
        fine_tuning.Create: {"integrations": {"type": ["array", "null"], "maxItems": 0}},
    }


def _only(*values: Any, why: str) -> Schema:
    return {"enum": [*values, None], "description": f"Others are refused: {why}."}


def _operation(path: str, one: Operation, of: dict[Any, Schema]) -> Schema:
    shown: Schema = {
        "operationId": "v1_" + re.sub(r"\W+", "_", f"{one.summary} {path}").strip("_").lower(),
        "tags": ["v1"],
        "summary": one.summary,
        "security": SECURITY,
        "parameters": [*_in_path(path), *_in_query(one, of)],
        "responses": _responses(one, of),
    }
    body = of[one.body] if one.body else one.form
    if body is not None:
        kind = JSON if one.body else FORM
        shown["requestBody"] = {"required": True, "content": {kind: {"schema": body}}}
    return shown


def _responses(one: Operation, of: dict[Any, Schema]) -> Schema:
    answer = one.answer if isinstance(one.answer, dict) else of[one.answer]
    if one.verbose is not None:
        answer = {"anyOf": [answer, of[one.verbose]]}
    content = {JSON: {"schema": answer}} | {kind: {"schema": TEXT} for kind in one.other}
    refused = {"description": "Refused, or failed", "content": {JSON: {"schema": _ERROR}}}
    return {"200": {"description": "Done", "content": content}, "default": refused}


def _in_path(path: str) -> list[Schema]:
    names = re.findall(r"\{(\w+)\*?\}", path)
    return [{"name": name, "in": "path", "required": True, "schema": TEXT} for name in names]


def _in_query(one: Operation, of: dict[Any, Schema]) -> list[Schema]:
    if one.query is None:
        return []
    shape = msgspec.json.schema(one.query)
    fields = shape["$defs"][shape["$ref"].rpartition("/")[2]]["properties"]
    return [_parameter(name, fields[name]) for name in fields if name not in one.without]


def _parameter(name: str, shape: Schema) -> Schema:
    told: Schema = {"name": name, "in": "query", "schema": shape}
    if name == "metadata":  # metadata[key]=value
        told |= {"style": "deepObject", "explode": True, "schema": ANY_OBJECT}
    return told
