"""What is asked of a model, and with which rules."""

from typing import Literal

import msgspec

from inference.wire.specs import Adapter, Message


class Image(msgspec.Struct, omit_defaults=True, frozen=True):
    """An encoded file as uploaded; engines decode it, within limits (inference/images.py)."""

    data: bytes
    detail: Literal["auto", "low", "high"] = "auto"


class ChatMessage(msgspec.Struct, omit_defaults=True, frozen=True):
    """`parts` is there only where there are images: they and all of the text, in their order."""

    role: str
    content: str
    name: str | None = None
    parts: list[str | Image] = []

    @property
    def images(self) -> list[Image]:
        return [part for part in self.parts if isinstance(part, Image)]


class ChatPrompt(Message, frozen=True):
    """Rendered by the engine with the model's own template; special tokens in content are text."""

    messages: list[ChatMessage]


class TextPrompt(Message, frozen=True):
    text: str
    suffix: str = ""  # what stands behind the answer; empty: nothing


class TokenPrompt(Message, frozen=True):
    tokens: list[int]


Prompt = ChatPrompt | TextPrompt | TokenPrompt


class Sampling(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Per-request sampling; the names and meanings are OpenAI's, plus top_k and min_p."""

    max_tokens: int | None = None  # None: up to the context limit
    room: int | None = None  # the same for upstream servers, where limits leave less
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: list[str] = []
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] = {}
    ignore_eos: bool = False


class Generate(Message, frozen=True):
    """Answered by `Delta` frames (index 0..n-1) and one `Done`.

    `budget`: tokens of the prompt and of all choices that limits leave; None: there is no limit.
    An engine that counts prompts ends there; one without room for an answer is refused.
    """

    prompt: Prompt
    sampling: Sampling = Sampling()
    n: int = 1
    logprobs: int | None = None  # None: none; 0: the chosen token only; k: with k alternatives
    echo: bool = False  # the prompt's text (and logprobs) comes first
    adapter: Adapter | None = None
    budget: int | None = None
    via: str = ""  # the hubs it came through, for an upstream server


class Embed(Message, frozen=True):
    """Answered by one `Vectors` and one `Done`. Token lists are ids of the model's own vocabulary."""

    inputs: list[str | list[int] | Image]
    dimensions: int | None = None
    via: str = ""


class Classify(Message, frozen=True):
    """Zero-shot: answered by one `Vectors` (a row of probabilities per input) and one `Done`.

    `template` holds one `{}` for the label.
    """

    inputs: list[str | Image]
    labels: list[str]
    template: str = "{}"


class Transcribe(Message, frozen=True):
    """Answered by `Segment` frames in order of time and one `Done`.

    `budget`: tokens that limits leave to the text.
    """

    audio: bytes  # an encoded file as uploaded
    task: Literal["transcribe", "translate"] = "transcribe"
    language: str | None = None
    prompt: str | None = None
    temperature: float | None = None
    words: bool = False
    budget: int | None = None
    via: str = ""


class Probe(Message, frozen=True):
    """One real token (vector, window) through the engine; answered by `Done`."""


Body = Generate | Embed | Classify | Transcribe | Probe
