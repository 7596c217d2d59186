"""One transcription as a row of small steps, so that several can take turns; used by `asr_whisper`.

Long audio is cut at its quietest place about every minute: memory stays flat whatever its length.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from faster_whisper import WhisperModel  # type: ignore[import-untyped]
from faster_whisper.vad import (  # type: ignore[import-untyped]
    VadOptions,
    get_speech_timestamps,
)

from inference import wire
from inference.errors import InvalidValue, TokenBudgetExceeded, UnsupportedParameter
from inference.media import SAMPLE_RATE, Audio, Samples

PIECE_S = 60.0  # two windows; what takes turns is in memory at once
SEARCH_S = 15.0  # the cut is made somewhere in the last part of a piece
LISTEN_S, OVERLAP_S = 15.0, 1.0  # how much is searched for speech at once
QUIET_S = 0.25  # length of the windows that are compared to find the quietest
SPEECH_THRESHOLD = 0.3  # lower than the detector's own 0.5: rather hear noise than miss a word
CARRIED_CHARACTERS = 400  # of the transcript so far, given to the next piece as its context
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)  # Source: Whisper, section 4.5: fall back when unsure


class Transcription:
    """Invariant: `steps` yields segments in order of time, with ids from 0."""

    def __init__(self, model: WhisperModel, body: wire.Transcribe, max_s: float, beam: int) -> None:
        """Raises: InvalidMedia, InvalidValue, UnsupportedParameter, all before computing."""
        self.started_s = time.monotonic()
        self.first_s = 0.0
        self.tokens = 0
        self.language = _language(model, body)
        self._settings = _settings(model, body, beam)
        self._model = model
        self._body = body
        self._audio = Audio(body.audio, max_s)
        self._segments = 0
        self._text = body.prompt or ""

    def steps(self) -> Iterator[wire.Segment | None]:
        """Yield a segment, or None after a piece without speech.

        Raises: InvalidMedia when the audio turns out damaged or too long midway; TokenBudgetExceeded.
        """
        for offset_s, samples in cut_at_silence(self._audio.pieces(PIECE_S)):
            heard = self._listen(samples) if has_speech(samples) else None
            del samples  # others take their turns meanwhile: what is not needed is let go
            if heard is None:
                yield None
            else:
                yield from self._piece(offset_s, heard)

    def done(self) -> wire.Done:
        total_s = time.monotonic() - self.started_s
        heard_s = self._audio.decoded_s
        return wire.Done(
            usage=wire.Usage(completion_tokens=self.tokens, audio_s=heard_s),
            timing=wire.Timing(first_s=self.first_s or total_s, total_s=total_s),
            language=self.language or "en",
            duration_s=heard_s,
        )

    def _listen(self, samples: Samples) -> Iterator[Any]:
        """Begin a piece; its segments hold its spectrogram, and its samples no longer."""
        segments, info = self._model.transcribe(
            samples, language=self.language, initial_prompt=self._text or None, **self._settings
        )
        self.language = info.language
        found: Iterator[Any] = segments
        return found

    def _piece(self, offset_s: float, heard: Iterator[Any]) -> Iterator[wire.Segment]:
        for segment in heard:
            self.first_s = self.first_s or time.monotonic() - self.started_s
            self._count(len(segment.tokens))
            self._text = (self._text + segment.text)[-CARRIED_CHARACTERS:]
            yield self._answer(segment, offset_s)

    def _count(self, tokens: int) -> None:
        """Raises: TokenBudgetExceeded before more is told than limits leave."""
        budget = self._body.budget
        if budget is not None and self.tokens + tokens > budget:
            raise TokenBudgetExceeded(
                f"the limits of tokens per hour leave {budget} to this request, and its audio has more: "
                "send it in parts, or ask for a higher limit"
            )
        self.tokens += tokens

    def _answer(self, segment: Any, offset_s: float) -> wire.Segment:
        self._segments += 1
        return wire.Segment(
            id=self._segments - 1,
            start_s=float(offset_s + segment.start),
            end_s=float(offset_s + segment.end),
            text=segment.text,
            tokens=segment.tokens,
            temperature=segment.temperature or 0.0,
            avg_logprob=segment.avg_logprob,
            compression_ratio=segment.compression_ratio,
            no_speech_prob=segment.no_speech_prob,
            words=self._words(segment, offset_s) if self._body.words else None,
        )

    def _words(self, segment: Any, offset_s: float) -> list[wire.Word]:
        """The library gives numpy's numbers here, which do not travel."""
        return [
            wire.Word(
                word.word,
                float(offset_s + word.start),
                float(offset_s + word.end),
                float(word.probability),
            )
            for word in segment.words or []
        ]


def has_speech(samples: Samples) -> bool:
    """Say whether anybody speaks: Whisper invents words where nobody does."""
    size, step = (int(s * SAMPLE_RATE) for s in (LISTEN_S, LISTEN_S - OVERLAP_S))
    return any(_has_speech(samples[at : at + size]) for at in range(0, len(samples), step))


def _has_speech(samples: Samples) -> bool:
    if not np.abs(samples).max() > 0:
        return False
    return bool(get_speech_timestamps(samples, VadOptions(threshold=SPEECH_THRESHOLD)))


def _language(model: WhisperModel, body: wire.Transcribe) -> str | None:
    """Return None where the model has to find out.

    Raises: InvalidValue, UnsupportedParameter.
    """
    asked = body.language.lower() if body.language else None
    if not model.model.is_multilingual:
        if body.task == "translate":
            raise UnsupportedParameter(
                "this model knows English only: it cannot translate", param="model"
            )
        if asked not in {None, "en"}:
            raise UnsupportedParameter(
                f"this model knows English only, not {asked!r}", param="language"
            )
        return "en"
    if asked is not None and asked not in model.supported_languages:
        raise InvalidValue(
            f"{asked!r} is no language code that this model knows, such as en, fr or vi",
            param="language",
        )
    return asked


def _settings(model: WhisperModel, body: wire.Transcribe, beam: int) -> dict[str, Any]:
    """Raises: InvalidValue."""
    if body.temperature is not None and not 0 <= body.temperature <= 1:
        raise InvalidValue("temperature must be between 0 and 1", param="temperature")
    return {
        "task": body.task,
        "beam_size": beam,
        "temperature": body.temperature or TEMPERATURES,
        "word_timestamps": body.words,
    }


def cut_at_silence(pieces: Iterator[Samples]) -> Iterator[tuple[float, Samples]]:
    """Move each piece's end back to its quietest place; yield (start in seconds, samples).

    What was yielded is not held here.
    """
    start, rest = 0, np.zeros(0, np.float32)
    for piece in pieces:
        ready = [np.concatenate([rest, piece])]
        cut = _quietest(ready[0]) if len(piece) == int(PIECE_S * SAMPLE_RATE) else len(ready[0])
        del piece
        rest = ready[0][cut:].copy()
        ready[0] = ready[0][:cut]
        yield start / SAMPLE_RATE, ready.pop()
        start += cut
    if len(rest):
        yield start / SAMPLE_RATE, rest


def _quietest(samples: Samples) -> int:
    """Return the index of the middle of the quietest window near the end."""
    size = int(QUIET_S * SAMPLE_RATE)
    first = len(samples) - int(SEARCH_S * SAMPLE_RATE)
    windows = samples[first : first + (len(samples) - first) // size * size].reshape(-1, size)
    return first + int((windows**2).mean(1).argmin()) * size + size // 2
