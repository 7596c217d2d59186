"""Frames: how a message becomes bytes, and bytes become messages again."""

import asyncio
import struct
from collections.abc import AsyncIterator

import msgspec

from inference.wire.answers import (
    Delta,
    Done,
    Failure,
    Granted,
    Loaded,
    Progress,
    Segment,
    Vectors,
    Yield,
)
from inference.wire.bodies import (
    ChatPrompt,
    Classify,
    Embed,
    Generate,
    Probe,
    TextPrompt,
    TokenPrompt,
    Transcribe,
)
from inference.wire.engine import Asleep, Cancel, LoadProgress, Run, Sleep, Start, Stats, Wake
from inference.wire.questions import (
    AskCourse,
    Detach,
    Forget,
    Load,
    Plan,
    PlanReservation,
    Reserve,
    Resize,
    Revise,
    Submit,
    Tail,
    Unload,
    Watch,
)
from inference.wire.status import Course, Lines, Planned, Snapshot

HEADER = struct.Struct("<IBI")  # payload bytes, kind, stream
MAX_FRAME_BYTES = 64 * 1024 * 1024
READ_CHUNK_BYTES = 64 * 1024

Any = (
    ChatPrompt | TextPrompt | TokenPrompt | Generate | Embed | Classify | Transcribe
    | Probe | Submit | Load | Unload | Forget | Revise | Detach | Plan | Reserve | Resize | PlanReservation | Tail | Watch | AskCourse
    | Granted | Yield | Progress | Delta | Vectors | Segment | Done | Failure | Loaded | Planned | Lines | Course | Snapshot
    | Start | Run | Cancel | Stats | LoadProgress | Sleep | Asleep | Wake
)  # fmt: skip

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
