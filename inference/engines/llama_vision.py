"""Prompts with images for llama.cpp: a text with a mark for each image, and the images beside it.

Used by `llm_gguf` on the threads of its choices. llama.cpp decodes no file of a stranger's, only what
`inference/images.py` has decoded within its limits.
"""

import base64
import io
import re
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference import images, wire
from inference.engines.llama_server import MARK, LlamaServer
from inference.engines.prompts import PromptEncoder, plain, render
from inference.errors import InvalidRequest, LoadFailed

BREAK = "\u200c"  # a zero-width non-joiner: is not seen, and no special token has it
CONTROL_LOOK = re.compile(r"<\|.+\|>")  # llama.cpp takes these as special by their looks alone
FAST = 1  # of PNG's levels: the file lives for one request


@dataclass(frozen=True, slots=True)
class Pictured:
    """A prompt with images. `tokens` counts both, as llama.cpp does."""

    text: str
    pictures: tuple[str, ...]  # PNG files of our own, in base64
    tokens: int

    @property
    def prompt(self) -> dict[str, Any]:
        """Give it as llama.cpp takes it."""
        return {"prompt_string": self.text, "multimodal_data": list(self.pictures)}


class Eyes:
    """What makes a prompt of messages with images; safe from many threads."""

    def __init__(self, server: LlamaServer, encoder: PromptEncoder, tokens: Sequence[str]) -> None:
        self._server, self._encoder = server, encoder
        looks = {token for token in tokens if CONTROL_LOOK.fullmatch(token)}
        self._special = _pattern(
            {*encoder.tokenizer.special_texts, *encoder.variables.values(), *looks}
        )
        self._decoding = threading.Lock()  # one image at a time is large enough

    def see(self, prompt: wire.ChatPrompt, context: int) -> Pictured:
        """Raises: InvalidRequest, InvalidMedia, ContextLengthExceeded."""
        self._encoder.refuse_hopeless(prompt, context)
        text = self._text(prompt.messages)
        found = [image for message in prompt.messages for image in message.images]
        if text.count(MARK) != len(found):
            raise InvalidRequest(
                "the model's chat template has no place for the images of these messages",
                param="messages",
            )
        pictures = tuple(self._picture(image) for image in found)
        return Pictured(text, pictures, self._server.count(text.split(MARK), pictures))

    def _plain(self, text: str) -> str:
        """Break up what llama.cpp would take for special tokens: here it gets text, not tokens."""
        return self._special.sub(_broken, text)

    def _text(self, messages: Sequence[wire.ChatMessage]) -> str:
        encoder = self._encoder
        shaped = [self._shaped(message) for message in messages]
        if encoder.template is None:
            return plain(shaped)
        text = render(encoder.template, shaped, encoder.variables)
        # llama.cpp adds the first token itself, where the model wants one.
        return text.removeprefix(encoder.variables.get("bos_token", "")) if encoder.prefix else text

    def _shaped(self, message: wire.ChatMessage) -> wire.ChatMessage:
        """An image becomes its mark in the text, with a line of its own."""
        parts = [self._plain(part) if isinstance(part, str) else MARK for part in message.parts]
        text = "\n".join(parts) if parts else self._plain(message.content)
        name = message.name and self._plain(message.name)
        return wire.ChatMessage(message.role, text, name, [text] if self._encoder.in_parts else [])

    def _picture(self, image: wire.Image) -> str:
        """Raises: InvalidMedia."""
        with self._decoding:
            stream = io.BytesIO()
            images.decode(image, param="messages").save(stream, "PNG", compress_level=FAST)
        return base64.b64encode(stream.getvalue()).decode()


def has_images(prompt: wire.Prompt) -> bool:
    return isinstance(prompt, wire.ChatPrompt) and any(m.images for m in prompt.messages)


def size_bytes(projector: str) -> int:
    """Raises: LoadFailed."""
    if not projector:
        return 0
    try:
        return Path(projector).stat().st_size
    except OSError as error:
        raise LoadFailed(f"{Path(projector).name} cannot be read: {error}") from error


def _pattern(special: Collection[str]) -> re.Pattern[str]:
    longest_first = sorted((text for text in special if text), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _broken(match: re.Match[str]) -> str:
    text = match.group()
    return text[:1] + BREAK + text[1:] if len(text) > 1 else BREAK
