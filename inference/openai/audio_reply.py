"""Transcripts in all their formats: json, text, srt, vtt, verbose_json, and a stream of events."""

import math

import msgspec

from inference import wire
from inference.openai import sse
from inference.openai.audio import Format, ParsedAudio
from inference.openai.languages import NAMES

TYPES: dict[Format, bytes] = {
    "json": b"application/json",
    "verbose_json": b"application/json",
    "text": b"text/plain; charset=utf-8",
    "srt": b"text/plain; charset=utf-8",
    "vtt": b"text/vtt; charset=utf-8",
}


class _Duration(msgspec.Struct):
    """Billing unit of transcriptions: whole seconds."""

    seconds: int
    type: str = "duration"


class Transcription(msgspec.Struct):
    text: str
    usage: _Duration


class _Segment(msgspec.Struct):
    id: int
    seek: int  # hundredths of a second
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class _Word(msgspec.Struct):
    word: str
    start: float
    end: float


class Verbose(msgspec.Struct, kw_only=True):
    task: str
    language: str
    duration: float
    text: str
    words: list[_Word] | msgspec.UnsetType = msgspec.UNSET
    segments: list[_Segment] | msgspec.UnsetType = msgspec.UNSET
    usage: _Duration


class _Delta(msgspec.Struct):
    delta: str
    type: str = "transcript.text.delta"


class _End(msgspec.Struct):
    text: str
    usage: _Duration
    type: str = "transcript.text.done"


class _Joiner:
    """Join segments into one text without white space at its ends, piece by piece."""

    def __init__(self) -> None:
        self.text = ""
        self._held = ""

    def add(self, text: str) -> str:
        """Give what this segment adds to the text."""
        body = text.rstrip()
        trailing = text[len(body) :]
        if not body:
            self._held += trailing if self.text else ""
            return ""
        piece = self._held + body if self.text else body.lstrip()
        self._held = trailing
        self.text += piece
        return piece


class PlainEncoder:
    """Gather the segments; give the whole in the format that was asked for."""

    def __init__(self, parsed: ParsedAudio) -> None:
        self._parsed = parsed
        self._segments: list[wire.Segment] = []
        self._joiner = _Joiner()

    def add(self, message: wire.Segment, prompt: int) -> None:
        self._segments.append(message)
        self._joiner.add(message.text)

    def finish(self, done: list[wire.Done]) -> bytes:
        match self._parsed.format:
            case "text":
                return f"{self._joiner.text}\n".encode()
            case "srt":
                return srt(self._segments).encode()
            case "vtt":
                return vtt(self._segments).encode()
            case "verbose_json":
                return msgspec.json.encode(self._verbose(done[-1]))
        return msgspec.json.encode(Transcription(self._joiner.text, _billed(done[-1])))

    def _verbose(self, done: wire.Done) -> Verbose:
        parsed = self._parsed
        code = done.language or parsed.body.language or "en"
        return Verbose(
            task=parsed.body.task,
            language=NAMES.get(code, code),
            duration=round(done.duration_s, 2),
            text=self._joiner.text,
            words=[_word(w) for s in self._segments for w in s.words or ()]
            if parsed.words
            else msgspec.UNSET,
            segments=[_segment(s) for s in self._segments] if parsed.segments else msgspec.UNSET,
            usage=_billed(done),
        )


class StreamEncoder:
    """One event per segment, then the whole text."""

    def __init__(self) -> None:
        self._joiner = _Joiner()

    def start(self) -> bytes:
        return b""

    def add(self, message: wire.Segment, prompt: int) -> bytes:
        piece = self._joiner.add(message.text)
        return sse.event(msgspec.json.encode(_Delta(piece))) if piece else b""

    def finish(self, done: list[wire.Done]) -> bytes:
        end = _End(self._joiner.text, _billed(done[-1]))
        return sse.event(msgspec.json.encode(end)) + sse.DONE


def srt(segments: list[wire.Segment]) -> str:
    return "".join(
        f"{number}\n{_stamp(s.start_s, ',')} --> {_stamp(s.end_s, ',')}\n{_cue(s.text)}\n\n"
        for number, s in enumerate(segments, 1)
    )


def vtt(segments: list[wire.Segment]) -> str:
    cues = "".join(
        f"{_stamp(s.start_s, '.')} --> {_stamp(s.end_s, '.')}\n{_cue(s.text)}\n\n" for s in segments
    )
    return f"WEBVTT\n\n{cues}"


def _cue(text: str) -> str:
    """Keep a cue in one piece: an empty line or an arrow would end it."""
    return " ".join(text.split()).replace("-->", "->")


def _stamp(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    whole, milliseconds = divmod(milliseconds, 1000)
    return f"{hours:02d}:{minutes:02d}:{whole:02d}{point}{milliseconds:03d}"


def _billed(done: wire.Done) -> _Duration:
    return _Duration(math.ceil(done.duration_s or done.usage.audio_s))


def _segment(s: wire.Segment) -> _Segment:
    return _Segment(
        id=s.id,
        seek=round(s.start_s * 100),
        start=round(s.start_s, 3),
        end=round(s.end_s, 3),
        text=s.text,
        tokens=s.tokens,
        temperature=s.temperature,
        avg_logprob=s.avg_logprob,
        compression_ratio=s.compression_ratio,
        no_speech_prob=s.no_speech_prob,
    )


def _word(w: wire.Word) -> _Word:
    return _Word(w.word.strip(), round(w.start_s, 3), round(w.end_s, 3))
