"""What comes back: progress, parts of an answer, its end."""

from typing import Literal

import msgspec

from inference.wire.specs import FinishReason, Message


class Progress(Message, frozen=True):
    """Why a request waits: sent when it changes, before the first answer frame.

    Whoever was told to wait hears `running` once an engine has the request.
    """

    state: Literal["queued", "loading", "running"]
    position: int = 0  # 1 is next
    reason: str = ""
    eta_s: float | None = None
    loaded_bytes: int = 0
    total_bytes: int = 0


class Granted(Message, frozen=True):
    """The memory is free and kept for the client, until its connection closes."""

    device: str
    claim_bytes: int


class Yield(Message, frozen=True):
    """Traffic needs the memory: the client stops its process, then closes. Said once, never taken back."""

    reason: str


class TopLogprob(msgspec.Struct, frozen=True, array_like=True):
    token: str
    logprob: float
    raw: (
        bytes  # the token's own bytes; `token` may hold U+FFFD where they are a part of a character
    )


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    token: str
    logprob: float | None  # None for the first token of an echoed prompt
    raw: bytes
    top: list[TopLogprob] = []


class Delta(Message, frozen=True):
    """New text of choice `index`; whole characters, never a part of a stop string.

    The last delta of a choice carries `finish_reason`. `logprobs` covers exactly the tokens whose
    text is in this delta (a token that gives no text yet comes with the one that completes it).
    """

    index: int = 0
    text: str = ""
    tokens: int = 0  # generated tokens that this delta accounts for
    logprobs: list[TokenLogprob] | None = None
    finish_reason: FinishReason | None = None
    # Of the request, with its first delta: who leaves is counted too. Not every engine knows them.
    prompt_tokens: int = 0
    cached_tokens: int = 0


class Vectors(Message, frozen=True):
    """Row-major little-endian float32, shape (rows, dimensions)."""

    rows: int
    dimensions: int
    data: bytes


class Word(msgspec.Struct, frozen=True, array_like=True):
    word: str
    start_s: float
    end_s: float
    probability: float


class Segment(Message, frozen=True):
    id: int
    start_s: float
    end_s: float
    text: str
    tokens: list[int] = []
    temperature: float = 0.0
    avg_logprob: float = 0.0
    compression_ratio: float = 0.0
    no_speech_prob: float = 0.0
    words: list[Word] | None = None


class Usage(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0  # prompt tokens whose KV was reused
    audio_s: float = 0.0


class Timing(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    queue_s: float = 0.0  # in the node, load included
    load_s: float = 0.0
    first_s: float = 0.0  # engine: from submit to the first token
    total_s: float = 0.0  # engine: from submit to the end


class Done(Message, frozen=True):
    usage: Usage = Usage()
    timing: Timing = Timing()
    language: str | None = None  # transcriptions
    duration_s: float = 0.0  # transcriptions


class Failure(Message, frozen=True):
    """The request ended badly; `code` is one of inference.errors."""

    code: str
    message: str
    param: str | None = None
    retry_after_s: float | None = None
    prompt_tokens: int = 0  # of a prompt that was counted and refused
    details: dict[str, object] | None = None  # told in fields, such as a `Shortage`
    may_repeat: bool = False  # the engine ended under way, and nobody has asked once more yet


Why = Literal["pinned", "training", "loading", "busy", "recent"]


class Holder(msgspec.Struct, frozen=True):
    """Who has what another one needs."""

    name: str
    claim_bytes: int
    why: Why


class Shortage(msgspec.Struct, frozen=True):
    """Why a model cannot be loaded, in figures."""

    device: str
    needed_bytes: int
    free_bytes: int
    limit_bytes: int
    would_have_to_go: list[Holder] = []  # empty: that of no model would help


class Loaded(Message, frozen=True):
    """An engine is ready. Bytes are measured, not estimated."""

    memory_bytes: int
    weights_bytes: int = 0
    kv_bytes: int = 0  # of `memory_bytes`, what keys and values hold already
    kv_limit_bytes: int = 0  # what they will hold at most; 0: it has none, or cannot tell
    device: str = "cpu"
    dtype: str = ""
    context_tokens: int = 0
    load_s: float = 0.0
    sleeps: bool = False  # it can give its GPU back and keep its weights in main memory
    capabilities: list[str] = []
