"""What an upstream OpenAI server is asked, and what its answers mean on our wire. Pure.

Used by the engines that hand their work to another server (`remote_openai`, `llm_vllm`).
"""

import base64
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from inference import wire
from inference.errors import InvalidValue

IMAGE_TYPES = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
REASONS: dict[str, wire.FinishReason] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
}
BEYOND_OPENAI = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "ignore_eos": False}
USUAL = {"temperature": 1.0, "top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


# --- requests -------------------------------------------------------------------------------------


def generate(model: str, body: wire.Generate) -> tuple[str, dict[str, Any]]:
    """Give the path below /v1 and the JSON body; always streamed, with usage at the end."""
    fields = _sampling(body.sampling) | {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if body.n != 1:
        fields["n"] = body.n
    if isinstance(body.prompt, wire.ChatPrompt):
        return "chat/completions", fields | _chat(body.prompt, body)
    return "completions", fields | _completion(body.prompt, body)


def _sampling(rules: wire.Sampling) -> dict[str, Any]:
    """Leave out what asks for nothing: a server may refuse a field that it does not know."""
    fields: dict[str, Any] = {
        name: getattr(rules, name)
        for name, usual in (USUAL | BEYOND_OPENAI).items()
        if getattr(rules, name) != usual
    }
    for name in ("max_tokens", "seed"):
        if (value := getattr(rules, name)) is not None:
            fields[name] = value
    if rules.max_tokens is None and rules.room is not None:
        fields["max_tokens"] = rules.room
    if rules.stop:
        fields["stop"] = rules.stop
    if rules.logit_bias:
        fields["logit_bias"] = {str(token): bias for token, bias in rules.logit_bias.items()}
    return fields


def _chat(prompt: wire.ChatPrompt, body: wire.Generate) -> dict[str, Any]:
    fields: dict[str, Any] = {"messages": [_message(message) for message in prompt.messages]}
    if body.logprobs is not None:
        fields |= {"logprobs": True, "top_logprobs": body.logprobs}
    return fields


def _completion(prompt: wire.TextPrompt | wire.TokenPrompt, body: wire.Generate) -> dict[str, Any]:
    asked = prompt.text if isinstance(prompt, wire.TextPrompt) else prompt.tokens
    fields: dict[str, Any] = {"prompt": asked}
    if isinstance(prompt, wire.TextPrompt) and prompt.suffix:
        fields["suffix"] = prompt.suffix
    if body.logprobs is not None:
        fields["logprobs"] = body.logprobs
    if body.echo:
        fields["echo"] = True
    return fields


def _message(message: wire.ChatMessage) -> dict[str, Any]:
    parts = [_part(part) for part in message.parts]
    fields: dict[str, Any] = {"role": message.role, "content": parts or message.content}
    return fields | ({"name": message.name} if message.name else {})


def _part(part: str | wire.Image) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    kind = next((k for mark, k in IMAGE_TYPES.items() if part.data.startswith(mark)), None)
    if kind is None:
        raise InvalidValue("an image is neither PNG, JPEG, GIF nor WebP", param="messages")
    url = f"data:image/{kind};base64,{base64.b64encode(part.data).decode()}"
    return {"type": "image_url", "image_url": {"url": url, "detail": part.detail}}


def embed(model: str, body: wire.Embed) -> dict[str, Any]:
    fields: dict[str, Any] = {"model": model, "input": body.inputs, "encoding_format": "base64"}
    return fields | ({"dimensions": body.dimensions} if body.dimensions else {})


def transcribe(model: str, body: wire.Transcribe) -> list[tuple[str, str]]:
    """Give the form's fields; words and segments come back with their times."""
    fields = [("model", model), ("response_format", "verbose_json")]
    optional = {"language": body.language, "prompt": body.prompt}
    fields += [(name, value) for name, value in optional.items() if value]
    if body.temperature is not None:
        fields.append(("temperature", str(body.temperature)))
    fields.append(("timestamp_granularities[]", "segment"))
    return fields + ([("timestamp_granularities[]", "word")] if body.words else [])


# --- answers --------------------------------------------------------------------------------------


class _Named(msgspec.Struct):
    id: str


class Models(msgspec.Struct):
    data: list[_Named]


Count = Annotated[int, msgspec.Meta(ge=0, le=2**27)]  # limits are settled by what a server says


class _Usage(msgspec.Struct):
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    prompt_tokens_details: dict[str, Any] | None = None


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None  # chat
    text: str | None = None  # completions
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class Event(msgspec.Struct):
    """One event of a stream, of either endpoint."""

    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: dict[str, Any] | None = None


def most_tokens(body: wire.Generate) -> int | None:
    """Say how many tokens were asked for; None: as many as the server likes."""
    rules = body.sampling
    limit = rules.room if rules.max_tokens is None else rules.max_tokens
    return None if limit is None or body.echo else body.n * max(1, limit)


def deltas(event: Event, choices: int) -> Iterator[wire.Delta]:
    """Give the wire's deltas; what says nothing is left out. Raises: ValueError."""
    for choice in event.choices:
        if not 0 <= choice.index < choices:
            raise ValueError(f"there is no choice {choice.index} of {choices}")
        text = choice.text or (choice.delta.content if choice.delta else None) or ""
        reason = REASONS.get(choice.finish_reason, "stop") if choice.finish_reason else None
        if not text and reason is None:
            continue
        logprobs = _logprobs(choice.logprobs) if choice.logprobs else None
        count = len(logprobs) if logprobs else int(bool(text))
        yield wire.Delta(
            index=choice.index, text=text, tokens=count, logprobs=logprobs, finish_reason=reason
        )


def usage(found: _Usage) -> wire.Usage:
    details = found.prompt_tokens_details or {}
    return wire.Usage(
        prompt_tokens=found.prompt_tokens,
        completion_tokens=found.completion_tokens,
        cached_tokens=int(details.get("cached_tokens") or 0),
    )


def _logprobs(found: dict[str, Any]) -> list[wire.TokenLogprob]:
    if "content" in found:
        return [_chat_logprob(entry) for entry in found["content"] or []]
    tops = found.get("top_logprobs") or [None] * len(found["tokens"])
    rows = zip(found["tokens"], found["token_logprobs"], tops, strict=True)
    return [
        wire.TokenLogprob(token, logprob, token.encode(), _tops(top))
        for token, logprob, top in rows
    ]


def _chat_logprob(entry: dict[str, Any]) -> wire.TokenLogprob:
    tops = [
        wire.TopLogprob(top["token"], top["logprob"], _raw(top))
        for top in entry.get("top_logprobs") or []
    ]
    return wire.TokenLogprob(entry["token"], entry["logprob"], _raw(entry), tops)


def _raw(entry: dict[str, Any]) -> bytes:
    known = entry.get("bytes")
    return bytes(known) if known else str(entry["token"]).encode()


def _tops(found: dict[str, float] | None) -> list[wire.TopLogprob]:
    return [wire.TopLogprob(token, value, token.encode()) for token, value in (found or {}).items()]


class _Vector(msgspec.Struct):
    index: int
    embedding: str | list[float]


class Embeddings(msgspec.Struct):
    data: list[_Vector]
    usage: _Usage = msgspec.field(default_factory=_Usage)


class _Word(msgspec.Struct):
    word: str
    start: float
    end: float


class _Segment(msgspec.Struct):
    id: int = 0
    start: float = 0.0
    end: float = 0.0
    text: str = ""
    tokens: list[int] = []
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 0.0
    no_speech_prob: float = 0.0


class Transcript(msgspec.Struct):
    """A `verbose_json` transcription."""

    text: str
    language: str | None = None
    duration: float = 0.0
    segments: list[_Segment] | None = None
    words: list[_Word] | None = None

    def frames(self) -> Iterator[wire.Segment]:
        """Give segments with the words whose middle lies in them; one segment where none came."""
        found = self.segments or [_Segment(end=self.duration, text=self.text)]
        for at, segment in enumerate(found):
            last = at == len(found) - 1
            inside = [word for word in self.words or [] if _is_in(word, segment, at == 0, last)]
            yield _segment(segment, inside if self.words is not None else None)


def _is_in(word: _Word, segment: _Segment, first: bool, last: bool) -> bool:
    middle = (word.start + word.end) / 2
    return (first or middle >= segment.start) and (last or middle < segment.end)


def _segment(found: _Segment, words: list[_Word] | None) -> wire.Segment:
    return wire.Segment(
        id=found.id,
        start_s=found.start,
        end_s=found.end,
        text=found.text,
        tokens=found.tokens,
        temperature=found.temperature,
        avg_logprob=found.avg_logprob,
        compression_ratio=found.compression_ratio,
        no_speech_prob=found.no_speech_prob,
        words=None
        if words is None
        else [wire.Word(word.word, word.start, word.end, 1.0) for word in words],
    )
