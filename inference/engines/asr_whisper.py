"""Speech to text on faster-whisper (CTranslate2): segments are sent as they are decoded.

One thread computes; the requests in it take turns, a window of audio at a time.
"""

import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from faster_whisper import WhisperModel  # type: ignore[import-untyped]

from inference import wire
from inference.engines.base import NO_NUMBERS, Job, Setting, failed, failure_of
from inference.engines.footprint import Footprint
from inference.engines.handover import UNLOADED, OneThreadEngine
from inference.engines.whisper_features import Spectrogram
from inference.engines.whisper_job import Transcription
from inference.engines.worked import Most
from inference.errors import HubError, LoadFailed, UnsupportedModel

DEFAULT_MAX_AUDIO_S = 4 * 3600.0
DEFAULT_BEAM = 5  # Source: Whisper's own command line
WINDOW_FRAMES = 1_500  # that the encoder sees, however short the speech
MAX_ACTIVE = 8  # requests that take turns; the others wait in the order of arrival
COMPUTE_TYPES = ("int8", "int8_float16", "int8_float32", "float16", "bfloat16", "float32")


@dataclass(slots=True, eq=False)
class Running:
    job: Job
    transcription: Transcription
    steps: Iterator[wire.Segment | None]


@dataclass(slots=True)
class Counters:
    steps: int = 0
    tokens: int = 0
    cancelled: int = 0


class AsrWhisper(OneThreadEngine):
    thread_name = "whisper"

    def __init__(self) -> None:
        super().__init__()
        self._waiting: deque[Job] = deque()
        self._active: deque[Running] = deque()
        self._counters, self._most = Counters(), Most()

    # --- contract ---------------------------------------------------------------------------

    def load(self, spec: wire.ModelSpec, setting: Setting) -> wire.Loaded:
        started_s = time.monotonic()
        weights = Path(spec.path) / "model.bin"
        total_bytes = weights.stat().st_size if weights.is_file() else 0
        setting.progress(0, total_bytes)
        footprint = Footprint(setting.device)
        self._max_audio_s = _positive(spec, "max_audio_s", DEFAULT_MAX_AUDIO_S)
        self._beam = int(_positive(spec, "beam_size", DEFAULT_BEAM))
        self._model = _load(spec, setting)
        weights_bytes = footprint.grown_bytes
        self._probe()
        setting.progress(total_bytes, total_bytes)
        self._thread.start()
        return wire.Loaded(
            memory_bytes=footprint.total_bytes,
            weights_bytes=weights_bytes,
            device=setting.device,
            dtype=self._model.model.compute_type,
            context_tokens=self._model.max_length,
            load_s=time.monotonic() - started_s,
            capabilities=_capabilities(self._model),
        )

    def stats(self) -> wire.Stats:
        return wire.Stats(
            running=len(self._active),
            waiting=len(self._waiting) + len(self._inbox),
            steps_total=self._counters.steps,
            completion_tokens_total=self._counters.tokens,
            cancelled_total=self._counters.cancelled,
            worked=self._most.told(),
        )

    # --- the engine's own thread --------------------------------------------------------------

    def _serve(self) -> None:
        while self._wait_for_work():
            while self._waiting and len(self._active) < MAX_ACTIVE:
                self._begin(self._waiting.popleft())
            if self._active:
                self._advance(self._active.popleft())
        for job in [running.job for running in self._active] + list(self._waiting):
            job.emit(failure_of(UNLOADED))

    def _wait_for_work(self) -> bool:
        """Return False when the engine closes."""
        self._wait_for(lambda: self._waiting or self._active)
        while self._inbox:
            entry = self._inbox.popleft()
            if isinstance(entry, Job):
                self._waiting.append(entry)
            else:
                self._cancel(entry)
        return not self._closing

    def _cancel(self, stream: int) -> None:
        for job in [job for job in self._waiting if job.stream == stream]:
            self._waiting.remove(job)
            self._counters.cancelled += 1
            job.emit(wire.Done())
        for running in [running for running in self._active if running.job.stream == stream]:
            self._active.remove(running)
            self._counters.cancelled += 1
            running.job.emit(running.transcription.done())

    def _begin(self, job: Job) -> None:
        try:
            if isinstance(job.body, wire.Probe):
                self._probe()
                job.emit(wire.Done())
            elif isinstance(job.body, wire.Transcribe):
                work = Transcription(self._model, job.body, self._max_audio_s, self._beam)
                self._active.append(Running(job, work, work.steps()))
            else:
                raise UnsupportedModel("this model turns speech into text and nothing else")
        except HubError as error:
            job.emit(failure_of(error))

    def _advance(self, running: Running) -> None:
        """Compute one step of one request; it goes to the end of the line or is answered."""
        try:
            segment = next(running.steps, _END)
        except HubError as error:
            running.job.emit(failure_of(error))
        except (RuntimeError, ValueError) as error:  # CTranslate2's, out of memory among them
            running.job.emit(failure_of(failed(error, "this audio")))
        else:
            if segment is _END:
                running.job.emit(running.transcription.done())
            else:
                self._deliver(running, segment)

    def _deliver(self, running: Running, segment: wire.Segment | None) -> None:
        self._counters.steps += 1
        self._most.note(0, len(self._active), WINDOW_FRAMES)
        if segment is not None:
            self._counters.tokens += len(segment.tokens)
            running.job.emit(segment)
        self._active.append(running)

    def _probe(self) -> None:
        """Encode one silent window and decode one token from it. Raises: LoadFailed."""
        model = self._model
        frames = model.feature_extractor.nb_max_frames
        window = np.zeros((model.feature_extractor.mel_filters.shape[0], frames), np.float32)
        start = model.hf_tokenizer.token_to_id("<|startoftranscript|>")
        (found,) = model.model.generate(
            model.encode(window), [[start]], max_length=2, beam_size=1, return_scores=True
        )
        if not np.isfinite(found.scores).all():
            raise LoadFailed(NO_NUMBERS)
        self._counters.steps += 1


_END = wire.Segment(id=-1, start_s=0, end_s=0, text="")


def _load(spec: wire.ModelSpec, setting: Setting) -> WhisperModel:
    """Raises: LoadFailed."""
    folder = Path(spec.path)
    for name in ("model.bin", "config.json", "tokenizer.json"):
        if not (folder / name).is_file():
            raise LoadFailed(f"{folder.name} has no {name}: it is no CTranslate2 Whisper folder")
    kind, _, index = setting.device.partition(":")
    os.environ["MKL_DISABLE_FAST_MM"] = "1"  # on Intel it keeps 25 MB of what it is done with
    try:
        model = WhisperModel(
            str(folder),
            device=kind,
            device_index=int(index or 0),
            compute_type=_compute_type(spec.dtype, kind),
            cpu_threads=max(1, setting.threads),
            local_files_only=True,
        )
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        raise LoadFailed(f"{folder.name} cannot be loaded: {error}") from error
    model.feature_extractor = Spectrogram(model.feature_extractor)
    model.hf_tokenizer.encode_special_tokens = True  # a special token in a prompt is text
    return model


def _compute_type(dtype: str, kind: str) -> str:
    if dtype == "auto":
        return "float16" if kind == "cuda" else "int8"
    if dtype not in COMPUTE_TYPES:
        raise LoadFailed(f"dtype {dtype!r} is not one of auto, {', '.join(COMPUTE_TYPES)}")
    return dtype


def _capabilities(model: WhisperModel) -> list[str]:
    return ["transcriptions", *(["translations"] if model.model.is_multilingual else [])]


def _positive(spec: wire.ModelSpec, name: str, default: float) -> float:
    value = spec.options.get(name, default)
    if isinstance(value, bool | str) or value <= 0:
        raise LoadFailed(f"option {name} must be a positive number, not {value!r}")
    return float(value)


ENGINE = AsrWhisper
