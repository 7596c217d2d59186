"""The loop of the engines that make vectors: what is here at the same time is computed together.

One thread prepares, computes and answers; `submit` and `cancel` only hand over to it. A large request
is prepared on a thread of its own, so that others need not wait while it is tokenised.
"""

import time
from abc import abstractmethod
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from inference import wire
from inference.engines.base import NO_NUMBERS, Job, failed, failure_of
from inference.engines.embed_queue import Item, Request, Row, cut_batches, take_window
from inference.engines.handover import UNLOADED, OneThreadEngine
from inference.engines.worked import Most
from inference.errors import EngineFailed, HubError, InvalidValue, LoadFailed

CPU_BATCH_TOKENS = 1_024  # padded; larger batches win nothing on a CPU and make others wait
CUDA_BATCH_TOKENS = 65_536
Matrix = npt.NDArray[np.float32]

WINDOW_BATCHES = 2  # how much is taken from the queue at a time
LARGE_CHARS = 32 * 1024  # of text in one request; tokenised in about 20 ms
MAX_REQUEST_TOKENS = 300_000  # OpenAI's own limit


@dataclass(slots=True, eq=False)
class Running:
    """A job that has its rows and waits for its vectors."""

    job: Job
    request: Request
    dimensions: int
    probe: bool
    started_s: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class Prepared:
    """What became of a large request: its rows, or why it is refused."""

    job: Job
    outcome: Running | HubError


@dataclass(slots=True)
class Counters:
    steps: int = 0
    tokens: int = 0
    cancelled: int = 0


class EmbedLoop(OneThreadEngine):
    thread_name = "embed"

    def __init__(self) -> None:
        super().__init__()
        self._preparing: dict[int, Job] = {}
        self._large = ThreadPoolExecutor(1, thread_name_prefix="tokenise")
        self._waiting: deque[Request] = deque()
        self._running: dict[int, Running] = {}
        self._counters, self._most = Counters(), Most()

    # --- what each engine brings ----------------------------------------------------------------

    @abstractmethod
    def _encode(self, body: wire.Body) -> list[Row]:
        """Give a row for each input. Raises: HubError."""

    def _ready(self, _item: Item) -> None:
        """Do what a row needs right before it is computed. Raises: HubError."""

    @abstractmethod
    def _vectors(self, rows: list[Row]) -> Matrix:
        """Compute the rows of one batch, float32 (rows, own dimensions)."""

    def _cut(self, window: list[Item]) -> list[list[Item]]:
        return cut_batches(window, self._batch_tokens)

    def _pack(self, running: Running) -> wire.Vectors:
        """Give the answer once all vectors are there."""
        return pack(running, self._dimensions)

    # --- contract -------------------------------------------------------------------------------

    def _start(self, dimensions: int, batch_tokens: int) -> None:
        """Call at the end of `load`."""
        self._dimensions, self._batch_tokens = dimensions, batch_tokens
        self._thread.start()

    def stats(self) -> wire.Stats:
        return wire.Stats(
            running=len(self._running),
            waiting=len(self._inbox) + len(self._preparing),
            steps_total=self._counters.steps,
            prompt_tokens_total=self._counters.tokens,
            cancelled_total=self._counters.cancelled,
            worked=self._most.told(),
        )

    def close(self) -> None:
        super().close()
        self._large.shutdown(cancel_futures=True)

    # --- the engine's own thread --------------------------------------------------------------

    def _serve(self) -> None:
        while self._wait_for_work():
            window = take_window(self._waiting, self._batch_tokens * WINDOW_BATCHES)
            for batch in self._cut(window):
                self._read_inbox()
                self._compute([item for item in batch if self._is_ready(item)])
        self._read_inbox()
        unloaded = failure_of(UNLOADED)
        for running in list(self._running.values()):
            self._end(running, unloaded)
        for job in self._preparing.values():
            job.emit(unloaded)

    def _wait_for_work(self) -> bool:
        """Return False when the engine closes."""
        self._wait_for(lambda: self._waiting)
        self._read_inbox()
        return not self._closing

    def _read_inbox(self) -> None:
        """Prepare what arrived and drop what was cancelled."""
        while self._inbox:
            entry = self._inbox.popleft()
            match entry:
                case Job() if _chars(entry.body) > LARGE_CHARS:
                    self._preparing[entry.stream] = entry
                    self._large.submit(self._prepare_large, entry)
                case Job():
                    self._accept(entry, self._outcome(entry))
                case Prepared(job, outcome):
                    if self._preparing.pop(job.stream, None):
                        self._accept(job, outcome)
                case int() as stream:
                    self._cancel(stream)

    def _prepare_large(self, job: Job) -> None:
        if job.stream not in self._preparing:
            return
        self._hand_over(Prepared(job, self._outcome(job)))

    def _accept(self, job: Job, outcome: Running | HubError) -> None:
        if isinstance(outcome, HubError):
            job.emit(failure_of(outcome))
            return
        self._running[job.stream] = outcome
        self._waiting.append(outcome.request)

    def _cancel(self, stream: int) -> None:
        if running := self._running.get(stream):
            self._counters.cancelled += 1
            self._end(running, _done(running))
        elif job := self._preparing.pop(stream, None):
            self._counters.cancelled += 1
            job.emit(wire.Done())

    def _outcome(self, job: Job) -> Running | HubError:
        try:
            return self._prepare(job)
        except HubError as error:
            return error
        except Exception as error:  # noqa: BLE001 (one request's fault is its own)
            return EngineFailed(f"the input could not be read: {error}")

    def _prepare(self, job: Job) -> Running:
        """Raises: HubError."""
        probe = isinstance(job.body, wire.Probe)
        body = wire.Embed(inputs=["probe"]) if probe else job.body
        rows = self._encode(body)
        tokens = sum(map(len, rows))
        if tokens > MAX_REQUEST_TOKENS:
            raise InvalidValue(
                f"a request may hold {MAX_REQUEST_TOKENS} tokens over all inputs, but this one has "
                f"{tokens}: send it in parts",
                param="input",
            )
        asked = body.dimensions if isinstance(body, wire.Embed) else None
        return Running(job, Request(job.stream, rows), self._check_dimensions(asked), probe)

    def _check_dimensions(self, asked: int | None) -> int:
        own = self._dimensions
        if asked is not None and not 1 <= asked <= own:
            raise InvalidValue(
                f"dimensions must be between 1 and {own}, this model's own", param="dimensions"
            )
        return asked or own

    def _is_ready(self, item: Item) -> bool:
        """Tell whether this item is to be computed; a fault ends its own request only."""
        if item.request.ended:
            return False
        try:
            self._ready(item)
        except HubError as error:
            self._end(self._running[item.request.stream], failure_of(error))
        return not item.request.ended

    def _compute(self, batch: list[Item]) -> None:
        batch = [item for item in batch if not item.request.ended]
        if not batch:
            return
        try:
            vectors = self._vectors([item.row for item in batch])
        except (RuntimeError, ValueError, IndexError) as error:  # out of memory is a RuntimeError
            self._fail_batch(batch, error)
            return
        self._counters.steps += 1
        self._counters.tokens += sum(len(item.row) for item in batch)
        for item, vector in zip(batch, vectors, strict=True):
            item.request.vectors[item.index] = vector.astype("<f4").tobytes()
        self._fail_unsound(batch, vectors)
        for request in {id(item.request): item.request for item in batch}.values():
            if request.finished and not request.ended:
                self._deliver(self._running[request.stream])

    def _fail_unsound(self, batch: list[Item], vectors: Matrix) -> None:
        """What is no number is nobody's vector; it may be one input's own fault."""
        for item, vector in zip(batch, vectors, strict=True):
            if not (np.isfinite(vector).all() or item.request.ended):
                failure = failure_of(EngineFailed(NO_NUMBERS))
                self._end(self._running[item.request.stream], failure)

    def _fail_batch(self, batch: list[Item], error: Exception) -> None:
        failure = failure_of(failed(error, "this input"))
        for stream in {item.request.stream for item in batch}:
            self._end(self._running[stream], failure)

    def _deliver(self, running: Running) -> None:
        if not running.probe:
            running.job.emit(self._pack(running))
        self._end(running, _done(running))

    def _end(self, running: Running, last: wire.Done | wire.Failure) -> None:
        running.request.ended = True
        del self._running[running.job.stream]
        running.job.emit(last)


def check_sound(vectors: Matrix) -> None:
    """Raises: LoadFailed."""
    if not np.isfinite(vectors).all():
        raise LoadFailed(NO_NUMBERS)


def pack(running: Running, own: int) -> wire.Vectors:
    """Give all rows in their order, cut to the dimensions that were asked for."""
    request = running.request
    data = b"".join(request.vectors[index] for index in range(len(request.rows)))
    if running.dimensions < own:
        matrix = np.frombuffer(data, "<f4").reshape(-1, own)[:, : running.dimensions]
        length = np.linalg.norm(matrix, axis=1, keepdims=True)
        data = (matrix / np.maximum(length, 1e-12)).astype("<f4").tobytes()
    return wire.Vectors(rows=len(request.rows), dimensions=running.dimensions, data=data)


def _chars(body: wire.Body) -> int:
    """Count the text of a request."""
    inputs = getattr(body, "inputs", ())
    return sum(len(item) for item in inputs if isinstance(item, str | list))


def _done(running: Running) -> wire.Done:
    """Count what was computed: all inputs, or those before a cancel."""
    request = running.request
    tokens = sum(len(request.rows[index]) for index in request.vectors)
    total_s = time.monotonic() - running.started_s
    return wire.Done(
        usage=wire.Usage(prompt_tokens=tokens),
        timing=wire.Timing(first_s=total_s, total_s=total_s),
    )


def batch_tokens(spec: wire.ModelSpec, device: str) -> int:
    default = CUDA_BATCH_TOKENS if device.startswith("cuda") else CPU_BATCH_TOKENS
    asked = spec.options.get("batch_tokens", default)
    if not isinstance(asked, int) or asked < 1:
        raise LoadFailed(f"option batch_tokens must be a positive integer, not {asked!r}")
    return asked
