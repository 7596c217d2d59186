"""From a wire prompt to token ids: chat templates, plain text, token lists, and the context check.

Used by every engine that generates text. A special token written in user text stays text.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
from jinja2 import TemplateError

from inference import wire
from inference.engines.infilling import Infill
from inference.engines.templates import ChatTemplate
from inference.engines.text_limit import refuse_hopeless
from inference.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    InvalidValue,
    UnsupportedParameter,
)

PLAIN_NAMES = {"system": "System", "developer": "System", "assistant": "Assistant", "tool": "Tool"}
# Marks that stand for a special token's text while a template runs: private-use characters have no
# case, are no white space and mean nothing to a template.
NO_LIMIT = 2**40  # tokens
PROBE = "hub-probe"
MARK_OPEN, MARK_CLOSE, MARK_DIGITS = "\uf8f0", "\uf8f1", "\ue000"


class Tokenizer(Protocol):
    """What an engine must offer so that prompts can be encoded."""

    @property
    def special_texts(self) -> Collection[str]:
        """The text of every control token (those that text from a user must never become)."""

    def encode(self, text: str, special: bool) -> list[int]:
        """Encode without adding anything; `special` turns control tokens' text into their ids."""


@dataclass(frozen=True)
class PromptEncoder:
    """Everything that a model's folder or file says about its prompts.

    `prefix` is what the model wants before plain text (its BOS, or nothing); `start` is the token
    that stands for an empty prompt; `variables` reach the template (`bos_token`, `eos_token` ...).
    `image` is the text that stands for an image in a rendered prompt; None: the model sees none.
    `in_parts` is true for templates that take a message's content as a list of parts only.
    `infill` are the tokens for a prompt with a suffix; None: the model has none.
    """

    tokenizer: Tokenizer
    vocab_tokens: int
    template: ChatTemplate | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    prefix: Sequence[int] = ()
    start: int | None = None
    image: str | None = None
    in_parts: bool = False
    infill: Infill | None = None

    def encode(self, prompt: wire.Prompt, context: int = NO_LIMIT) -> list[int]:
        """Give all tokens; more than `context` are counted, far more are refused unread.

        Raises: InvalidRequest, InvalidValue, ContextLengthExceeded.
        """
        self.refuse_hopeless(prompt, context)
        match prompt:
            case wire.ChatPrompt(messages=messages):
                tokens = self._chat(messages)
            case wire.TextPrompt(text=text, suffix=suffix):
                written = self._between(text, suffix) if suffix else self._plain(text)
                tokens = [*self.prefix, *written]
            case wire.TokenPrompt(tokens=given):
                tokens = check_tokens(given, self.vocab_tokens)
        if tokens:
            return tokens
        if self.start is None:
            raise InvalidValue("the prompt is empty; give at least one token", param="prompt")
        return [self.start]

    def refuse_hopeless(self, prompt: wire.Prompt, context: int) -> None:
        """Raises: ContextLengthExceeded."""
        param = param_of(prompt)
        match prompt:
            case wire.ChatPrompt(messages=messages):
                texts = [text for message in messages for text in _texts(message)]
                refuse_hopeless(texts, self._count, context, param)
            case wire.TextPrompt(text=text, suffix=suffix):
                refuse_hopeless([text, suffix], self._count, context, param)
            case wire.TokenPrompt(tokens=given):
                if len(given) > context:
                    check_context(len(given), None, context, param)

    def _count(self, text: str) -> int:
        return len(self._plain(text))

    def _plain(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, special=False)

    def _between(self, text: str, suffix: str) -> list[int]:
        if self.infill is None:
            raise UnsupportedParameter(
                "Unsupported parameter: 'suffix': this model has no tokens for filling in between two"
                " texts; models such as CodeLlama, Qwen-Coder and StarCoder do.",
                param="suffix",
            )
        return self.infill.tokens(text, suffix, self._plain)

    def _chat(self, messages: Sequence[wire.ChatMessage]) -> list[int]:
        if not messages:
            raise InvalidValue("messages is empty; give at least one message", param="messages")
        if self.image is None:
            _refuse_images(messages)
        marks = _Marks(messages, {*self.tokenizer.special_texts, self.image or ""})
        marked = [self._shape(marks.hide(message)) for message in messages]
        if self.template is None:
            return [*self.prefix, *marks.encode(plain(marked), self.tokenizer)]
        text = render(self.template, marked, self.variables)
        return marks.encode(text, self.tokenizer)

    def _shape(self, message: wire.ChatMessage) -> wire.ChatMessage:
        """Give every message as parts, or none: an image becomes its text then."""
        if self.in_parts:
            return msgspec.structs.replace(message, parts=message.parts or [message.content])
        if not message.parts:
            return message
        texts = [part if isinstance(part, str) else str(self.image) for part in message.parts]
        return wire.ChatMessage(message.role, "\n".join(texts), message.name)


def wants_parts(template: ChatTemplate | None, variables: Mapping[str, str]) -> bool:
    """Try whether a template loses content that is no list of parts."""
    if template is None:
        return False
    whole, in_parts = wire.ChatMessage("user", PROBE), wire.ChatMessage("user", "", parts=[PROBE])
    try:
        if PROBE in render(template, [whole], variables):
            return False
        return PROBE in render(template, [in_parts], variables)
    except InvalidRequest:
        return False


# --- chat -----------------------------------------------------------------------------------------


def _texts(message: wire.ChatMessage) -> list[str]:
    return [part for part in message.parts if isinstance(part, str)] or [message.content]


def _refuse_images(messages: Sequence[wire.ChatMessage]) -> None:
    for at, message in enumerate(messages):
        if message.images:
            raise UnsupportedParameter(
                f"Unsupported parameter: 'messages[{at}].content': this model reads text only.",
                param=f"messages[{at}].content",
            )


def render(
    template: ChatTemplate, messages: Sequence[wire.ChatMessage], variables: Mapping[str, str]
) -> str:
    """Render with the model's template, adapting roles that it does not know.

    Raises: InvalidRequest with the template's own words when it refuses the conversation.
    """
    known = [_adapt(message, template.source) for message in messages]
    try:
        return template.render([_as_dict(message) for message in known], variables)
    except TemplateError as error:
        folded = _fold_system(known)
        if folded is None:
            raise _refused(error) from error
    try:
        return template.render([_as_dict(message) for message in folded], variables)
    except TemplateError as error:
        raise _refused(error) from error


def plain(messages: Sequence[wire.ChatMessage]) -> str:
    """Render for a model that has no template: a transcript that the assistant continues."""
    lines = [f"{PLAIN_NAMES.get(m.role, 'User')}: {m.content}\n" for m in messages]
    return "".join(lines) + "Assistant:"


def _refused(error: TemplateError) -> InvalidRequest:
    return InvalidRequest(
        f"the model's chat template refuses these messages: {error}", param="messages"
    )


def _adapt(message: wire.ChatMessage, source: str) -> wire.ChatMessage:
    """Replace a role that the template does not name by the nearest one that every model knows."""
    role, content, parts = message.role, message.content, message.parts
    if role == "developer" and not _names(source, "developer"):
        role = "system"
    elif role in {"tool", "function"} and not _names(source, role):
        role, content = "user", f"<tool_response>\n{content}\n</tool_response>"
        parts = ["<tool_response>\n", *parts, "\n</tool_response>"] if parts else []
    return wire.ChatMessage(role, content, message.name, parts)


def _names(source: str, role: str) -> bool:
    return re.search(rf"""['"]{role}['"]""", source) is not None


def _fold_system(messages: Sequence[wire.ChatMessage]) -> list[wire.ChatMessage] | None:
    """Put system messages in front of the next user message, for models that know no system role."""
    if not any(message.role == "system" for message in messages):
        return None
    folded: list[wire.ChatMessage] = []
    held: list[str] = []
    for message in messages:
        if message.role == "system":
            held.append(message.content)
        elif message.role == "user" and held:
            text = "\n\n".join([*held, message.content])
            parts = ["\n\n".join([*held, ""]), *message.parts] if message.parts else []
            folded.append(wire.ChatMessage("user", text, message.name, parts))
            held = []
        else:
            folded.append(message)
    if held:
        text = "\n\n".join(held)
        folded.append(wire.ChatMessage("user", text, parts=[text] if messages[-1].parts else []))
    return folded


def _as_dict(message: wire.ChatMessage) -> dict[str, Any]:
    content = [_part(part) for part in message.parts] or message.content
    fields: dict[str, Any] = {"role": message.role, "content": content}
    return fields if message.name is None else {**fields, "name": message.name}


def _part(part: str | wire.Image) -> dict[str, str]:
    return {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}


class _Marks:
    """Hide the special tokens that users wrote while a template runs, then encode them as text.

    Without any, the whole render is encoded at once, as every other server would.
    """

    def __init__(self, messages: Sequence[wire.ChatMessage], special: Collection[str]) -> None:
        texts = [text for m in messages for text in (m.content, m.name or "")]
        longest_first = sorted((s for s in special if s), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        self._open = MARK_OPEN
        while any(self._open + MARK_DIGITS in text for text in texts):
            self._open += MARK_OPEN
        self._hidden: list[str] = []

    def hide(self, message: wire.ChatMessage) -> wire.ChatMessage:
        name = None if message.name is None else self._hide(message.name)
        parts = [self._hide(part) if isinstance(part, str) else part for part in message.parts]
        return wire.ChatMessage(message.role, self._hide(message.content), name, parts)

    def _hide(self, text: str) -> str:
        return self._special.sub(self._mark, text)

    def _mark(self, match: re.Match[str]) -> str:
        self._hidden.append(match.group())
        return f"{self._open}{MARK_DIGITS}{len(self._hidden) - 1}{MARK_CLOSE}"

    def encode(self, text: str, tokenizer: Tokenizer) -> list[int]:
        if not self._hidden:
            return tokenizer.encode(text, special=True)
        tokens: list[int] = []
        pieces = re.split(f"{self._open}{MARK_DIGITS}([0-9]+){MARK_CLOSE}", text)
        for at, piece in enumerate(pieces):
            if at % 2:
                tokens += tokenizer.encode(self._hidden[int(piece)], special=False)
            elif piece:
                tokens += tokenizer.encode(piece, special=True)
        return tokens


# --- token lists and the context ------------------------------------------------------------------


def check_tokens(tokens: Sequence[int], vocab_tokens: int) -> list[int]:
    """Raises: InvalidValue naming the first id that the model does not have."""
    for token in tokens:
        if not 0 <= token < vocab_tokens:
            raise InvalidValue(
                f"token {token} is not in this model's vocabulary of {vocab_tokens} tokens",
                param="prompt",
            )
    return list(tokens)


def check_vectors(tokens: Sequence[int], vocab_tokens: int, param: str) -> None:
    """A tokenizer may give more than its model has vectors for. Raises: InvalidValue."""
    if (highest := max(tokens, default=0)) >= vocab_tokens:
        raise InvalidValue(
            f"the text holds token {highest}, and this model has vectors for {vocab_tokens} tokens only",
            param=param,
        )


def check_context(
    prompt_tokens: int, max_tokens: int | None, context: int, param: str = "messages"
) -> int:
    """Give how many tokens may be generated; called before anything is computed.

    Raises: ContextLengthExceeded naming the numbers.
    """
    limit = f"This model's maximum context length is {context} tokens."
    if max_tokens is None:
        if prompt_tokens < context:
            return context - prompt_tokens
        raise ContextLengthExceeded(
            f"{limit} However, your {param} resulted in {prompt_tokens} tokens, which leaves no "
            f"room for an answer. Please reduce the length of the {param}.",
            param=param,
        )
    total = prompt_tokens + max_tokens
    if total > context:
        raise ContextLengthExceeded(
            f"{limit} However, you requested {total} tokens ({prompt_tokens} in the {param}, "
            f"{max_tokens} in the completion). Please reduce the length of the {param} or of the "
            "completion.",
            param=param,
        )
    return max_tokens


def param_of(prompt: wire.Prompt) -> str:
    """Name the request field that a prompt came from, for errors."""
    return "messages" if isinstance(prompt, wire.ChatPrompt) else "prompt"
