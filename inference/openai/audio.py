"""POST /v1/audio/transcriptions and /v1/audio/translations: what a form may say."""

import math
import re
from typing import Literal

import msgspec

from inference import wire
from inference.errors import MissingParameter, UnknownParameter
from inference.openai import languages
from inference.openai.costs import Cost
from inference.openai.fields import invalid, unsupported
from inference.openai.form import Form

MAX_FILE_BYTES = 25 * 1024 * 1024  # Source: OpenAI's specification of this endpoint
MAX_BODY_BYTES = MAX_FILE_BYTES + 1024 * 1024
MAX_PROMPT_CHARS = 4096
NUMBER = re.compile(r"[0-9]{1,8}(\.[0-9]{0,32})?([eE][+-]?[0-9]{1,3})?|\.[0-9]{1,32}")  # of ASCII
WINDOW_TOKENS = 224  # Source: what Whisper writes of 30 s at most
WINDOW_BYTES = 22_500  # 30 s of Opus at its lowest rate, 6 kbit/s
Format = Literal["json", "text", "srt", "vtt", "verbose_json"]
Task = Literal["transcribe", "translate"]
FORMATS: tuple[Format, ...] = ("json", "text", "srt", "vtt", "verbose_json")
GRANULARITIES = ("word", "segment")
_LISTS = {"timestamp_granularities", "include", "known_speaker_names"} | {
    "known_speaker_references", "keywords", "languages",
}  # fmt: skip
_COMMON = {"model", "prompt", "response_format", "temperature"}
KNOWN: dict[Task, set[str]] = {
    "transcribe": _COMMON | _LISTS | {"language", "stream", "chunking_strategy"},
    "translate": _COMMON,
}


class ParsedAudio(msgspec.Struct, frozen=True):
    model: str
    body: wire.Transcribe
    format: Format
    stream: bool
    words: bool
    segments: bool

    @property
    def cost(self) -> Cost:
        windows = 1 + len(self.body.audio) // WINDOW_BYTES
        return Cost(windows * WINDOW_TOKENS, usual=WINDOW_TOKENS)


def parse(form: Form, task: Task) -> ParsedAudio:
    """Raises: InvalidRequest in all its kinds."""
    fields = _Fields(form, task)
    _refuse(fields)
    shape = fields.choice("response_format", FORMATS) or "json"
    stream = fields.flag("stream")
    if stream and shape != "json":
        raise invalid("response_format", "a stream of events is always json")
    words, segments = _granularities(fields, shape)
    body = wire.Transcribe(
        audio=fields.file(),
        task=task,
        language=_language(fields.one("language")),
        prompt=_prompt(fields.one("prompt")),
        temperature=_temperature(fields.one("temperature")),
        words=words,
    )
    return ParsedAudio(fields.model(), body, shape, stream, words, segments)


class _Fields:
    """A form's fields by name, each there once; lists also as `name[]`."""

    def __init__(self, form: Form, task: Task) -> None:
        self._form = form
        self._values: dict[str, list[str]] = {}
        for raw, values in form.fields.items():
            name = raw.removesuffix("[]")
            if name not in KNOWN[task] or (name != raw and name not in _LISTS):
                raise UnknownParameter(f"Unknown parameter: '{raw}'.", param=raw)
            self._values.setdefault(name, []).extend(values)

    def many(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def one(self, name: str) -> str | None:
        values = self.many(name)
        if len(values) > 1:
            raise invalid(name, "it is there more than once")
        return values[0] if values else None

    def model(self) -> str:
        model = self.one("model")
        if not model:
            raise MissingParameter("Missing required parameter: 'model'.", param="model")
        if len(model) > 256:
            raise invalid("model", "the name is too long")
        return model

    def file(self) -> bytes:
        if self._form.file is None:
            raise MissingParameter("Missing required parameter: 'file'.", param="file")
        if not self._form.file:
            raise invalid("file", "it is empty")
        return self._form.file

    def choice(self, name: str, allowed: tuple[Format, ...]) -> Format | None:
        value = self.one(name)
        found = next((item for item in allowed if item == value), None)
        if value is not None and found is None:
            if value == "diarized_json":
                raise unsupported(name, "speakers are not told apart")
            raise invalid(name, f"it must be one of {', '.join(allowed)}")
        return found

    def flag(self, name: str) -> bool:
        value = (self.one(name) or "false").lower()
        if value not in {"true", "false", "1", "0"}:
            raise invalid(name, "it must be true or false")
        return value in {"true", "1"}


def _refuse(fields: _Fields) -> None:
    """Raises: UnsupportedParameter for what these models cannot do."""
    if fields.one("chunking_strategy") not in {None, "auto"}:
        raise unsupported("chunking_strategy", "long audio is always cut by the server; send auto")
    for name in ("known_speaker_names", "known_speaker_references"):
        if fields.many(name):
            raise unsupported(name, "speakers are not told apart")
    if fields.many("include"):
        raise unsupported("include", "log probabilities of transcripts are not offered")
    if fields.many("keywords"):
        raise unsupported("keywords", "name them in the prompt instead")
    if fields.many("languages"):
        raise unsupported("languages", "send one language, or none to have it detected")


def _granularities(fields: _Fields, shape: Format) -> tuple[bool, bool]:
    """Tell whether words and segments are wanted."""
    given = fields.many("timestamp_granularities")
    wrong = [value for value in given if value not in GRANULARITIES]
    if wrong:
        raise invalid("timestamp_granularities", "it may hold word and segment")
    if given and shape != "verbose_json":
        raise invalid("timestamp_granularities", "it needs 'response_format' verbose_json")
    return "word" in given, not given or "segment" in given


def _language(text: str | None) -> str | None:
    if not text:
        return None
    if text.lower() not in languages.NAMES:
        raise invalid("language", "it must be a code of ISO 639-1 that is known, such as en")
    return text.lower()


def _prompt(text: str | None) -> str | None:
    if text is not None and len(text) > MAX_PROMPT_CHARS:
        raise invalid("prompt", f"it is longer than {MAX_PROMPT_CHARS} characters")
    return text or None


def _temperature(text: str | None) -> float | None:
    if text is None:
        return None
    number = float(text) if NUMBER.fullmatch(text) else math.nan
    if not 0 <= number <= 1:
        raise invalid("temperature", "it must be a number from 0 to 1")
    return number
