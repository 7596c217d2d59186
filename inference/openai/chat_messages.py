"""The messages of a chat request: checked, and flattened to what a chat template takes."""

import json
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from inference import wire
from inference.errors import HubError, UnsupportedParameter
from inference.openai import bounded_json
from inference.openai.fields import invalid
from inference.openai.pictures import ImageUrl, Pictures

Name = Annotated[str, Meta(min_length=1, max_length=64)]
Id = Annotated[str, Meta(min_length=1, max_length=256)]


class TextPart(
    msgspec.Struct, tag_field="type", tag="text", forbid_unknown_fields=True, frozen=True
):
    text: str
    prompt_cache_breakpoint: Any = None


class RefusalPart(
    msgspec.Struct, tag_field="type", tag="refusal", forbid_unknown_fields=True, frozen=True
):
    refusal: str


class ImagePart(
    msgspec.Struct, tag_field="type", tag="image_url", forbid_unknown_fields=True, frozen=True
):
    image_url: ImageUrl
    prompt_cache_breakpoint: Any = None


class AudioPart(msgspec.Struct, tag_field="type", tag="input_audio", frozen=True):
    input_audio: Any = None


class FilePart(msgspec.Struct, tag_field="type", tag="file", frozen=True):
    file: Any = None


Part = TextPart | RefusalPart | ImagePart | AudioPart | FilePart
Content = str | Annotated[list[Part], Meta(min_length=1, max_length=1024)]


class Called(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    name: Name
    arguments: str


class CustomCalled(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    name: Name
    input: str


class FunctionCall(
    msgspec.Struct, tag_field="type", tag="function", forbid_unknown_fields=True, frozen=True
):
    id: Id
    function: Called


class CustomCall(
    msgspec.Struct, tag_field="type", tag="custom", forbid_unknown_fields=True, frozen=True
):
    id: Id
    custom: CustomCalled


class Message(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: Content | None = None
    name: Name | None = None
    refusal: str | None = None
    tool_calls: Annotated[list[FunctionCall | CustomCall], Meta(max_length=128)] | None = None
    function_call: Called | None = None
    tool_call_id: Id | None = None
    # What OpenAI's own answers carry, so that a client may send a message back as it came.
    annotations: Annotated[list[Any], Meta(max_length=0)] | None = None
    audio: Any = None


_ONLY = {
    "refusal": "assistant",
    "tool_calls": "assistant",
    "function_call": "assistant",
    "annotations": "assistant",
    "audio": "assistant",
    "tool_call_id": "tool",
}
_KINDS = {AudioPart: "input_audio", FilePart: "file"}


def to_wire(messages: list[Message], pictures: Pictures) -> list[wire.ChatMessage]:
    """Fill `pictures` on the way.

    Raises: InvalidValue and UnsupportedParameter naming the message and its field; RequestTooLarge.
    """
    calls: set[str] = set()
    flat: list[wire.ChatMessage] = []
    for at, message in enumerate(messages):
        place = f"messages[{at}]"
        _check(message, place, calls)
        calls.update(call.id for call in message.tool_calls or ())
        parts = _parts(message, place, pictures)
        flat.append(wire.ChatMessage(message.role, _text(message, place), message.name, parts))
    return flat


def _parts(message: Message, place: str, pictures: Pictures) -> list[str | wire.Image]:
    """Give texts and images in their order; nothing where there are no images."""
    content = message.content
    if not isinstance(content, list) or not any(isinstance(part, ImagePart) for part in content):
        return []
    if message.role not in {"user", "tool"}:
        raise invalid(f"{place}.content", f"a message with role '{message.role}' holds no images")
    parts: list[str | wire.Image] = []
    for at, part in enumerate(content):
        where = f"{place}.content[{at}]"
        if isinstance(part, ImagePart):
            image = part.image_url
            parts.append(pictures.add(image.url, f"{where}.image_url", image.detail))
        elif text := _part(part, where, message.role):
            parts.append(text)
    return parts


def _check(message: Message, place: str, calls: set[str]) -> None:
    for field, role in _ONLY.items():
        if getattr(message, field) is not None and message.role != role:
            raise invalid(f"{place}.{field}", f"only a message with role '{role}' may have it")
    if message.audio is not None:
        raise UnsupportedParameter(
            f"Unsupported parameter: '{place}.audio': this model has no audio answers.",
            param=f"{place}.audio",
        )
    if message.role == "tool" and message.tool_call_id not in calls:
        why = "a message with role 'tool' must answer a tool call of an earlier message"
        raise invalid(f"{place}.tool_call_id", why)
    if message.role == "function" and message.name is None:
        raise invalid(f"{place}.name", "a message with role 'function' must have a name")


def _text(message: Message, place: str) -> str:
    pieces = [_content(message.content, f"{place}.content", message.role)]
    if message.refusal:
        pieces.append(message.refusal)
    if message.function_call is not None:
        pieces.append(_called(message.function_call))
    pieces += [_call(call) for call in message.tool_calls or ()]
    if message.content is None and len(pieces) == 1 and message.refusal is None:
        raise invalid(f"{place}.content", f"a message with role '{message.role}' must have it")
    return "\n".join(piece for piece in pieces if piece)


def _content(content: str | list[Part] | None, place: str, role: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    texts = [
        _part(part, f"{place}[{at}]", role)
        for at, part in enumerate(content)
        if not isinstance(part, ImagePart)
    ]
    return "\n".join(texts)


def _part(part: Part, place: str, role: str) -> str:
    match part:
        case TextPart(text=text):
            return text
        case RefusalPart(refusal=text):
            if role != "assistant":
                raise invalid(f"{place}.type", "only an assistant's message may hold a refusal")
            return text
    kind = _KINDS[type(part)]
    raise UnsupportedParameter(
        f"Unsupported parameter: '{place}.{kind}': this model reads text only.",
        param=f"{place}.{kind}",
    )


def _call(call: FunctionCall | CustomCall) -> str:
    if isinstance(call, FunctionCall):
        return _called(call.function)
    return _tagged(call.custom.name, call.custom.input)


def _called(called: Called) -> str:
    try:
        arguments: bounded_json.JSON = bounded_json.parse(called.arguments.encode())
    except HubError:
        arguments = called.arguments
    return _tagged(called.name, arguments)


def _tagged(name: str, arguments: Any) -> str:
    """Render a call for templates that know none. Source: the Hermes convention."""
    call = {"name": name, "arguments": arguments}
    return f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>"
