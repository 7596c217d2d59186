"""Private messages between web, node and engine processes: the only place where they meet.

A frame is a 9-byte header (payload length, kind, stream number) and a msgpack payload. The header
alone is enough to forward a frame, so the node passes token frames on without decoding them.
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from typing import Literal

import msgspec

HEADER = struct.Struct("<IBI")  # payload bytes, kind, stream
MAX_FRAME_BYTES = 64 * 1024 * 1024
READ_CHUNK_BYTES = 64 * 1024

Kind = Literal["llm", "embed", "asr", "vlm", "clip", "tts"]
Verdict = Literal["loaded", "loading", "fits", "fits_after_unloading", "waits", "does_not_fit"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
BreakerState = Literal["closed", "open", "half_open"]
ModelState = Literal["cold", "loading", "ready", "draining", "failed"]


class Message(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True, tag=True):
    """Base of everything that travels; the class name is the tag."""


# --- what a request needs to know about its model ---------------------------------------------


class Adapter(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """A LoRA adapter that a resident base attaches at its first request."""

    name: str
    path: str  # a folder in PEFT's layout
    version: str = ""  # of its files

    @property
    def key(self) -> str:
        return f"{self.name}@{self.version}"


class ModelSpec(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Everything that node and engine need to serve a model; they have no database.

    `version` changes when files or settings change: a resident of another version is replaced.
    """

    name: str
    kind: Kind
    engine: str  # module name in inference.engines
    path: str  # a GGUF file, or a folder in Hugging Face or CTranslate2 layout
    version: str = ""
    device: str = "auto"  # auto | cpu | cuda
    dtype: str = "auto"
    context_tokens: int = 0  # 0: the model's own limit, capped by the engine's memory
    max_concurrency: int = 32  # requests in the engine at once
    max_queue: int = 256  # requests waiting in the node
    idle_unload_s: float | None = None  # None: the node's default; 0: never
    priority: int = 0
    pinned: bool = False
    memory_bytes: int = 0  # a measured peak from an earlier load; 0: not known yet
    options: dict[str, str | int | float | bool] = {}
    adapters_bytes: int = 0  # of the adapters that it will probably hold
    adapter: Adapter | None = None  # the router moves it to the body: a resident serves them all

    @property
    def key(self) -> str:
        """Identify what answers; without an adapter, also the resident that can serve this spec."""
        own = f"{self.name}@{self.version}"
        return own if self.adapter is None else f"{own}+{self.adapter.key}"


# --- request bodies -----------------------------------------------------------------------------


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


class TokenPrompt(Message, frozen=True):
    tokens: list[int]


Prompt = ChatPrompt | TextPrompt | TokenPrompt


class Sampling(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Per-request sampling; the names and meanings are OpenAI's, plus top_k and min_p."""

    max_tokens: int | None = None  # None: up to the context limit
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
    """Answered by `Delta` frames (index 0..n-1) and one `Done`."""

    prompt: Prompt
    sampling: Sampling = Sampling()
    n: int = 1
    logprobs: int | None = None  # None: none; 0: the chosen token only; k: with k alternatives
    echo: bool = False  # the prompt's text (and logprobs) comes first
    adapter: Adapter | None = None


class Embed(Message, frozen=True):
    """Answered by one `Vectors` and one `Done`. Token lists are ids of the model's own vocabulary."""

    inputs: list[str | list[int] | Image]
    dimensions: int | None = None


class Classify(Message, frozen=True):
    """Zero-shot: answered by one `Vectors` (a row of probabilities per input) and one `Done`.

    `template` holds one `{}` for the label.
    """

    inputs: list[str | Image]
    labels: list[str]
    template: str = "{}"


class Transcribe(Message, frozen=True):
    """Answered by `Segment` frames in order of time and one `Done`."""

    audio: bytes  # an encoded file as uploaded
    task: Literal["transcribe", "translate"] = "transcribe"
    language: str | None = None
    prompt: str | None = None
    temperature: float | None = None
    words: bool = False


class Probe(Message, frozen=True):
    """One real token (vector, window) through the engine; answered by `Done`."""


Body = Generate | Embed | Classify | Transcribe | Probe

# --- client -> node -----------------------------------------------------------------------------


class Submit(Message, frozen=True):
    """Ask for an answer. One at a time on a connection; closing it cancels the request."""

    request_id: str
    spec: ModelSpec
    body: Body
    deadline_s: float = 600.0  # for the wait until the engine takes it, not for the answer
    priority: int = 0
    companions: list[ModelSpec] = []  # the node loads them with it


class Load(Message, frozen=True):
    """Load without a request; answered by `Progress` frames and `Loaded` or `Failure`."""

    spec: ModelSpec
    deadline_s: float = 600.0


class Unload(Message, frozen=True):
    """Drain and stop; answered by `Done` or `Failure`. `force` does not wait for running requests."""

    model: str
    force: bool = False


class Revise(Message, frozen=True):
    """Take a spec's new pin, priority, idle time and queue length now; answered by `Done`.

    A spec of another version changes nothing: that takes a load, at the next request.
    """

    spec: ModelSpec


class Plan(Message, frozen=True):
    """Ask what loading this model now would do; answered by `Planned`, and nothing is done."""

    spec: ModelSpec


class Tail(Message, frozen=True):
    """The last lines that the engine of a model wrote; answered by `Lines`."""

    model: str


class Watch(Message, frozen=True):
    """Answered by a `Snapshot` at once and then every `interval_s` until the connection closes."""

    interval_s: float = 0.0  # 0: one snapshot only


# --- answers ------------------------------------------------------------------------------------


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
    capabilities: list[str] = []


class DeviceInfo(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    name: str  # cpu, cuda:0
    label: str
    total_bytes: int
    limit_bytes: int  # what the hub may use
    used_bytes: int  # by the hub's models and spare processes, measured
    standby_bytes: int = 0  # of these, by spare processes
    others_bytes: int = 0  # of the limit, out of reach because other programs hold it


class AdapterStatus(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """What an adapter was asked since the node started; its base's totals hold it too."""

    name: str
    attached: bool = False  # now
    requests_total: int = 0
    prompt_tokens_total: int = 0
    completion_tokens_total: int = 0


class ModelStatus(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    name: str
    version: str
    state: ModelState
    kind: Kind
    engine: str
    device: str = ""
    reason: str = ""  # why it failed, or what it waits for
    memory_bytes: int = 0  # measured now
    claim_bytes: int = 0  # reserved
    weights_bytes: int = 0
    kv_bytes: int = 0
    running: int = 0
    waiting: int = 0
    progress: float = 0.0  # 0..1 while loading
    tokens_per_s: float = 0.0
    requests_total: int = 0
    failures_total: int = 0
    prompt_tokens_total: int = 0
    completion_tokens_total: int = 0
    cancelled_total: int = 0
    loads_total: int = 0
    idle_s: float = 0.0
    unload_in_s: float | None = None
    breaker: BreakerState = "closed"  # open: refused, because its engine ended too often
    load_s: float = 0.0
    context_tokens: int = 0
    pinned: bool = False
    adapters: list[AdapterStatus] = []
    adapters_bytes: int = 0  # of those attached now


class Victim(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Who would be unloaded for a model, and what speaks for that choice."""

    name: str
    claim_bytes: int
    running: int = 0  # these are finished first
    priority: int = 0
    idle_s: float = 0.0
    chance: float = 0.0  # of being wanted again within a minute
    load_s: float = 0.0  # that this would cost


class Planned(Message, kw_only=True, frozen=True):
    """`waits` names whom patience would unload; sizes are of `device`."""

    verdict: Verdict
    reason: str = ""
    device: str = ""
    needed_bytes: int = 0
    free_bytes: int = 0
    limit_bytes: int = 0
    victims: list[Victim] = []
    eta_s: float | None = None


class Lines(Message, frozen=True):
    """Oldest first; none while nothing was written since the node started."""

    lines: list[str] = []


class Decision(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """One act of the scheduler and why; the newest of them are kept for the dashboard."""

    at: float  # unix time
    action: str  # load, unload, wait, refuse, fail
    model: str
    reason: str
    detail: str = ""  # why this model and no other


class Waiting(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """One request in a queue: its place among those of its model, and why it waits."""

    model: str
    position: int
    age_s: float
    reason: str
    eta_s: float | None = None


class Moment(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Two seconds of the node's past."""

    at: float  # unix time of its end
    tokens_per_s: float = 0.0
    requests: int = 0  # that came
    running: int = 0  # the most at once
    waiting: int = 0
    used_bytes: int = 0


class Snapshot(Message, frozen=True):
    at: float  # unix time
    devices: list[DeviceInfo] = []
    models: list[ModelStatus] = []
    decisions: list[Decision] = []
    queue: list[Waiting] = []  # the oldest first; of many only these
    history: list[Moment] = []  # what a lasting `Watch` has not been sent yet


# --- node <-> engine ----------------------------------------------------------------------------


class Start(Message, frozen=True):
    """First frame on an engine's socket: load this; answered by `Loaded` or `Failure`."""

    spec: ModelSpec
    threads: int
    memory_bytes: int = 0  # what the engine may take; 0: no limit
    kv_bytes: int = 0  # of it, for keys and values; 0: the engine decides


class Run(Message, frozen=True):
    """The stream number of the frame names the request from here on."""

    body: Body


class Cancel(Message, frozen=True):
    """Stop the stream within one step and answer it with a last `Done`."""


class Stats(Message, frozen=True):
    """Sent by an engine on stream 0 about twice a second while busy, and once when it goes idle."""

    running: int = 0
    waiting: int = 0
    memory_bytes: int = 0
    kv_bytes: int = 0
    steps_total: int = 0
    prompt_tokens_total: int = 0
    completion_tokens_total: int = 0
    cached_tokens_total: int = 0
    cancelled_total: int = 0
    adapters: list[str] = []  # attached now
    adapters_bytes: int = 0


class LoadProgress(Message, frozen=True):
    loaded_bytes: int
    total_bytes: int


Any = (
    ChatPrompt | TextPrompt | TokenPrompt | Generate | Embed | Classify | Transcribe
    | Probe | Submit | Load | Unload | Revise | Plan | Tail | Watch
    | Progress | Delta | Vectors | Segment | Done | Failure | Loaded | Planned | Lines | Snapshot
    | Start | Run | Cancel | Stats | LoadProgress
)  # fmt: skip

# --- frames -------------------------------------------------------------------------------------

OTHER, DELTA, DONE, FAILURE = 0, 1, 2, 3
_KINDS: dict[type, int] = {Delta: DELTA, Done: DONE, Failure: FAILURE}
TERMINAL = frozenset({DONE, FAILURE})

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Any)


class FrameError(ValueError):
    """The other side sent bytes that are no frame of ours."""


class Frame(msgspec.Struct, frozen=True):
    kind: int
    stream: int
    payload: bytes

    def decode(self) -> Any:
        """Raises: FrameError."""
        return decode(self.payload)

    def to_bytes(self, stream: int | None = None) -> bytes:
        """Give the frame's bytes again, under another stream number if asked."""
        number = self.stream if stream is None else stream
        return HEADER.pack(len(self.payload), self.kind, number) + self.payload


def decode(payload: bytes) -> Any:
    """Raises: FrameError."""
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise FrameError(str(error)) from error


def encode(message: Any, stream: int = 0) -> bytes:
    payload = _encoder.encode(message)
    return HEADER.pack(len(payload), _KINDS.get(type(message), OTHER), stream) + payload


class FrameParser:
    """Cut a byte stream into frames, however the bytes arrive."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Raises: FrameError on a frame over MAX_FRAME_BYTES."""
        self._buffer += data
        frames: list[Frame] = []
        at = 0
        while len(self._buffer) - at >= HEADER.size:
            size, kind, stream = HEADER.unpack_from(self._buffer, at)
            if size > MAX_FRAME_BYTES:
                raise FrameError(f"frame of {size} bytes is over the limit")
            end = at + HEADER.size + size
            if len(self._buffer) < end:
                break
            frames.append(Frame(kind, stream, bytes(self._buffer[at + HEADER.size : end])))
            at = end
        del self._buffer[:at]
        return frames


async def read_frames(reader: asyncio.StreamReader) -> AsyncIterator[Frame]:
    """Yield frames until the other side closes.

    Raises: FrameError; ConnectionError as the socket gives it.
    """
    parser = FrameParser()
    while data := await reader.read(READ_CHUNK_BYTES):
        for frame in parser.feed(data):
            yield frame
