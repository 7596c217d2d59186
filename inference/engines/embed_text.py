"""Text embeddings: requests that are here at the same time are computed together.

One thread tokenises, computes and answers; `submit` and `cancel` only hand over to it.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import torch

from inference import wire
from inference.engines import encoder_folder
from inference.engines.base import Engine, Job, Setting
from inference.engines.embed_queue import Item, Request, cut_batches, take_window
from inference.engines.footprint import Footprint
from inference.engines.sentence_encoder import SentenceEncoder
from inference.errors import EngineFailed, HubError, InvalidValue, LoadFailed, UnsupportedModel

CPU_BATCH_TOKENS = 1_024  # padded; larger batches win nothing on a CPU and make others wait
CUDA_BATCH_TOKENS = 65_536
WINDOW_BATCHES = 2  # how much is taken from the queue at a time


@dataclass(slots=True, eq=False)
class Running:
    """A job that has its tokens and waits for its vectors."""

    job: Job
    request: Request
    dimensions: int
    probe: bool
    started_s: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Counters:
    steps: int = 0
    tokens: int = 0
    cancelled: int = 0


class EmbedText(Engine):
    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._inbox: deque[Job | int] = deque()  # jobs, and stream numbers to cancel, in order
        self._closing = False
        self._waiting: deque[Request] = deque()
        self._running: dict[int, Running] = {}
        self._counters = Counters()
        self._thread = threading.Thread(target=self._serve, name="embed", daemon=True)

    # --- contract ---------------------------------------------------------------------------

    def load(self, spec: wire.ModelSpec, setting: Setting) -> wire.Loaded:
        started_s = time.monotonic()
        footprint = Footprint(setting.device)
        torch.set_num_threads(max(1, setting.threads))
        folder = encoder_folder.read(spec.path)
        total_bytes = sum(file.stat().st_size for file in folder.path.glob("*.safetensors"))
        setting.progress(0, total_bytes)
        self._encoder = SentenceEncoder(folder, setting.device, spec.dtype, spec.context_tokens)
        self._batch_tokens = _batch_tokens(spec, setting.device)
        self._encoder.vectors(self._encoder.encode(["warm up"]))
        setting.progress(total_bytes, total_bytes)
        self._thread.start()
        return wire.Loaded(
            memory_bytes=footprint.total_bytes,
            weights_bytes=self._encoder.weights_bytes,
            device=setting.device,
            dtype=self._encoder.dtype,
            context_tokens=self._encoder.window_tokens,
            load_s=time.monotonic() - started_s,
            capabilities=["embeddings"],
        )

    def submit(self, job: Job) -> None:
        with self._wake:
            if not self._closing:
                self._inbox.append(job)
                self._wake.notify()
                return
        job.emit(_failure(EngineFailed("the model is being unloaded")))

    def cancel(self, stream: int) -> None:
        with self._wake:
            self._inbox.append(stream)
            self._wake.notify()

    def stats(self) -> wire.Stats:
        return wire.Stats(
            running=len(self._running),
            waiting=len(self._inbox),
            steps_total=self._counters.steps,
            prompt_tokens_total=self._counters.tokens,
            cancelled_total=self._counters.cancelled,
        )

    def close(self) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    # --- the engine's own thread --------------------------------------------------------------

    def _serve(self) -> None:
        while self._wait_for_work():
            window = take_window(self._waiting, self._batch_tokens * WINDOW_BATCHES)
            for batch in cut_batches(window, self._batch_tokens):
                self._read_inbox()
                self._compute([item for item in batch if not item.request.ended])
        self._read_inbox()
        for running in list(self._running.values()):
            self._end(running, _failure(EngineFailed("the model is being unloaded")))

    def _wait_for_work(self) -> bool:
        """Return False when the engine closes."""
        with self._wake:
            self._wake.wait_for(lambda: self._inbox or self._waiting or self._closing)
        self._read_inbox()
        return not self._closing

    def _read_inbox(self) -> None:
        """Tokenise what arrived and drop what was cancelled."""
        while self._inbox:
            entry = self._inbox.popleft()
            if isinstance(entry, Job):
                self._accept(entry)
            elif running := self._running.get(entry):
                self._counters.cancelled += 1
                self._end(running, _done(running))

    def _accept(self, job: Job) -> None:
        try:
            running = self._prepare(job)
        except HubError as error:
            job.emit(_failure(error))
        else:
            self._running[job.stream] = running
            self._waiting.append(running.request)

    def _prepare(self, job: Job) -> Running:
        """Raises: UnsupportedModel, InvalidValue, ContextLengthExceeded."""
        body = wire.Embed(inputs=["probe"]) if isinstance(job.body, wire.Probe) else job.body
        if not isinstance(body, wire.Embed):
            raise UnsupportedModel("this model makes embeddings and nothing else")
        if not body.inputs:
            raise InvalidValue("input is empty", param="input")
        dimensions = self._dimensions(body.dimensions)
        request = Request(job.stream, self._encoder.encode(body.inputs))
        return Running(job, request, dimensions, isinstance(job.body, wire.Probe))

    def _dimensions(self, asked: int | None) -> int:
        own = self._encoder.dimensions
        if asked is not None and not 1 <= asked <= own:
            raise InvalidValue(
                f"dimensions must be between 1 and {own}, this model's own", param="dimensions"
            )
        return asked or own

    def _compute(self, batch: list[Item]) -> None:
        if not batch:
            return
        try:
            vectors = self._encoder.vectors([item.tokens for item in batch]).numpy()
        except (RuntimeError, ValueError, IndexError) as error:  # out of memory is a RuntimeError
            self._fail_batch(batch, error)
            return
        self._counters.steps += 1
        self._counters.tokens += sum(len(item.tokens) for item in batch)
        for item, vector in zip(batch, vectors, strict=True):
            item.request.vectors[item.index] = vector.astype("<f4").tobytes()
        for request in {id(item.request): item.request for item in batch}.values():
            if request.finished:
                self._deliver(self._running[request.stream])

    def _fail_batch(self, batch: list[Item], error: Exception) -> None:
        failure = _failure(EngineFailed(f"the engine failed on this input: {error}"))
        for stream in {item.request.stream for item in batch}:
            self._end(self._running[stream], failure)

    def _deliver(self, running: Running) -> None:
        if not running.probe:
            running.job.emit(_pack(running, self._encoder.dimensions))
        self._end(running, _done(running))

    def _end(self, running: Running, last: wire.Done | wire.Failure) -> None:
        running.request.ended = True
        del self._running[running.job.stream]
        running.job.emit(last)


def _pack(running: Running, own: int) -> wire.Vectors:
    request = running.request
    data = b"".join(request.vectors[index] for index in range(len(request.rows)))
    if running.dimensions < own:
        matrix = np.frombuffer(data, "<f4").reshape(-1, own)[:, : running.dimensions]
        length = np.linalg.norm(matrix, axis=1, keepdims=True)
        data = (matrix / np.maximum(length, 1e-12)).astype("<f4").tobytes()
    return wire.Vectors(rows=len(request.rows), dimensions=running.dimensions, data=data)


def _done(running: Running) -> wire.Done:
    """Count what was computed: all inputs, or those before a cancel."""
    request = running.request
    tokens = sum(len(request.rows[index]) for index in request.vectors)
    total_s = time.monotonic() - running.started_s
    return wire.Done(
        usage=wire.Usage(prompt_tokens=tokens),
        timing=wire.Timing(first_s=total_s, total_s=total_s),
    )


def _failure(error: HubError) -> wire.Failure:
    return wire.Failure(code=error.code, message=error.message, param=error.param)


def _batch_tokens(spec: wire.ModelSpec, device: str) -> int:
    default = CUDA_BATCH_TOKENS if device.startswith("cuda") else CPU_BATCH_TOKENS
    asked = spec.options.get("batch_tokens", default)
    if not isinstance(asked, int) or asked < 1:
        raise LoadFailed(f"option batch_tokens must be a positive integer, not {asked!r}")
    return asked


ENGINE = EmbedText
