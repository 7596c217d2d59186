"""The forms under /v1 in JSON Schema: they are read field by field, and no struct says what they hold."""

from typing import Any

from inference.openai import audio, files

Schema = dict[str, Any]
BYTES: Schema = {"type": "string", "format": "binary"}
TEXT: Schema = {"type": "string"}
NONE_OF_IT: Schema = {"type": "array", "items": TEXT, "maxItems": 0}
AUDIO: dict[str, Schema] = {
    "model": {"type": "string", "minLength": 1, "maxLength": 256},
    "prompt": {"type": "string", "maxLength": audio.MAX_PROMPT_CHARS},
    "response_format": {"enum": list(audio.FORMATS)},
    "temperature": {"type": "number", "minimum": 0, "maximum": 1},
    "language": {"type": "string", "description": "A code of ISO 639-1"},
    "stream": {"type": "boolean"},
    "chunking_strategy": {"enum": ["auto"]},
    "timestamp_granularities": {"type": "array", "items": {"enum": list(audio.GRANULARITIES)}},
}


def _form(required: tuple[str, ...], properties: dict[str, Schema]) -> Schema:
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


def of_audio(task: audio.Task) -> Schema:
    """What is known and never offered takes nothing."""
    fields = {name: AUDIO.get(name, NONE_OF_IT) for name in sorted(audio.KNOWN[task])}
    return _form(("file", "model"), {"file": BYTES} | fields)


FILE = _form(
    ("file", "purpose"),
    {
        "file": BYTES,
        "purpose": {"enum": list(files.PURPOSES)},
        "expires_after[anchor]": {"enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer", "minimum": 3_600, "maximum": 2_592_000},
    },
)
PART = _form(("data",), {"data": BYTES})
