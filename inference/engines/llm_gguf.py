"""Language models in GGUF files on llama.cpp: continuous batching in its own C++ loop.

Each running choice has one thread that waits inside llama.cpp; Python only translates what comes.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from inference import sizes, wire
from inference.engines import gguf_header, llama_vision
from inference.engines.base import Engine, Job, Setting, can_take, failed, failure_of
from inference.engines.footprint import Footprint
from inference.engines.gguf_header import GgufHeader
from inference.engines.gguf_vocabulary import GgufVocabulary, prompt_encoder
from inference.engines.llama_budget import KvBudget
from inference.engines.llama_choice import Choice, Road, Tools
from inference.engines.llama_lanes import Lane, plan
from inference.engines.llama_request import Ask, prepare
from inference.engines.llama_server import LlamaServer, Settings, gpu_here
from inference.engines.llama_vision import Eyes
from inference.engines.prompts import PromptEncoder
from inference.engines.text import Piece
from inference.errors import EngineFailed, HubError, LoadFailed, UnsupportedModel

MAX_RUNNING = 256
MAX_KV_TOKENS = 2**31 - 1
OTHER_BYTES = 300 * 1024**2  # process, compute buffers
COMPUTE_BYTES = 128 * 1024**2  # buffers of a step; measured: 10 to 60 MB
DEFAULT_KV_BYTES = 2 * 1024**3  # where the node sets no limit
STACK_BYTES = 2 * 1024 * 1024  # of a thread that waits for llama.cpp: there are hundreds
CPU_BATCH_TOKENS = 256  # others wait for a batch of a long prompt; more wins little on a CPU
CUDA_BATCH_TOKENS = 2_048
KV_SHARES = {"f16": 1.0, "q8_0": 17 / 32}  # of 16 bits; others changed answers (docs/decisions.md)


@dataclass(slots=True)
class Counters:
    steps: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cancelled: int = 0


@dataclass(slots=True, eq=False)
class Request:
    """A job inside this engine; it ends with its last choice."""

    job: Job
    started_s: float = field(default_factory=time.monotonic)
    first_s: float = 0.0
    ask: Ask | None = None
    choices_left: int = 1
    completion_tokens: int = 0
    cached_tokens: int = 0
    given_up: bool = False
    failure: HubError | None = None
    told: bool = False  # what the prompt took, to whoever counts

    def send(self, delta: wire.Delta) -> None:
        if not self.told and self.ask:
            self.told = True
            prompt, cached = self.ask.prompt_tokens, self.cached_tokens
            delta = msgspec.structs.replace(delta, prompt_tokens=prompt, cached_tokens=cached)
        self.job.emit(delta)

    def done(self) -> wire.Done:
        total_s = time.monotonic() - self.started_s
        return wire.Done(
            usage=wire.Usage(
                prompt_tokens=self.ask.prompt_tokens if self.ask else 0,
                completion_tokens=self.completion_tokens,
                cached_tokens=self.cached_tokens,
            ),
            timing=wire.Timing(first_s=self.first_s or total_s, total_s=total_s),
        )


class LlmGguf(Engine):
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[tuple[Request, int]] = deque()  # a request and its choice's index
        self._requests: dict[int, Request] = {}
        self._running = 0
        self._closing = False
        self._counters = Counters()
        self._threads: list[threading.Thread] = []

    # --- contract ---------------------------------------------------------------------------

    def load(self, spec: wire.ModelSpec, setting: Setting) -> wire.Loaded:
        started_s = time.monotonic()
        footprint = Footprint("cpu")
        header = gguf_header.read(spec.path)
        weights_bytes = header.weights_bytes + llama_vision.size_bytes(spec.projector)
        setting.progress(0, weights_bytes)
        gpu = _gpu(setting)
        lanes = _lanes(spec, setting, header, gpu is not None)
        self._prepare(spec, setting, header, lanes)
        setting.progress(weights_bytes, weights_bytes)
        self._start_threads(sum(lane.running for lane in lanes))
        self._kv_bytes_per_token = _kv_token_bytes(spec, header)
        kv_bytes = sum(lane.allocated_tokens for lane in lanes) * self._kv_bytes_per_token
        return wire.Loaded(
            memory_bytes=footprint.total_bytes,
            weights_bytes=weights_bytes,
            kv_bytes=kv_bytes,
            kv_limit_bytes=kv_bytes,
            device="cpu" if gpu is None else setting.device,
            dtype=header.quantization,
            context_tokens=self._context_tokens,
            load_s=time.monotonic() - started_s,
            capabilities=self._capabilities(),
        )

    def submit(self, job: Job) -> None:
        request = Request(job)
        with self._changed:
            if not self._closing:
                self._requests[job.stream] = request
                self._waiting.append((request, 0))
                self._changed.notify()
                return
        job.emit(failure_of(EngineFailed("the model is being unloaded")))

    def cancel(self, stream: int) -> None:
        with self._changed:
            request = self._requests.get(stream)
            if request is None or request.given_up:
                return
            request.given_up = True
            self._counters.cancelled += 1
            unstarted = [entry for entry in self._waiting if entry[0] is request]
            for entry in unstarted:
                self._waiting.remove(entry)
        self._wake_roads()
        for _ in unstarted:
            self._choice_ended(request)

    def stats(self) -> wire.Stats:
        counters = self._counters
        return wire.Stats(
            running=self._running,
            waiting=len(self._waiting) + sum(road.budget.waiting for road in self._tools.roads),
            kv_bytes=sum(road.budget.used_tokens for road in self._tools.roads)
            * self._kv_bytes_per_token,
            steps_total=counters.steps,
            prompt_tokens_total=counters.prompt_tokens,
            completion_tokens_total=counters.completion_tokens,
            cached_tokens_total=counters.cached_tokens,
            cancelled_total=counters.cancelled,
        )

    def close(self) -> None:
        with self._changed:
            self._closing = True
            for request in self._requests.values():
                request.given_up = True
                request.failure = EngineFailed("the model is being unloaded")
            unstarted, self._waiting = self._waiting, deque()
            self._changed.notify_all()
        for request, _index in unstarted:
            self._choice_ended(request)
        self._wake_roads()
        for thread in self._threads:
            thread.join()
        for road in self._tools.roads:
            road.server.close()

    def _wake_roads(self) -> None:
        for road in self._tools.roads:
            road.budget.wake()

    # --- loading ------------------------------------------------------------------------------

    def _prepare(
        self, spec: wire.ModelSpec, setting: Setting, header: GgufHeader, lanes: list[Lane]
    ) -> None:
        token_bytes = _kv_token_bytes(spec, header)
        roads = [_road(lane, _settings(spec, setting, lane), token_bytes) for lane in lanes]
        vocabulary = GgufVocabulary(header, roads[0].server)
        self._context_tokens = lanes[-1].room_tokens
        self._encoder: PromptEncoder = prompt_encoder(header, vocabulary)
        self._tools = Tools(roads, vocabulary, vocabulary.encode("a", special=False)[-1])
        if spec.projector:
            self._tools.eyes = Eyes(roads[-1].server, self._encoder, header.tokens)

    def _capabilities(self) -> list[str]:
        chats = self._encoder.template is not None or self._tools.eyes is not None
        more = [("chat", chats), ("images", self._tools.eyes is not None)]
        return ["completions", *(name for name, is_there in more if is_there)]

    def _start_threads(self, count: int) -> None:
        usual = threading.stack_size(STACK_BYTES)
        self._threads = [
            threading.Thread(target=self._serve, name=f"choice-{number}", daemon=True)
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()
        threading.stack_size(usual)

    # --- one thread per running choice ----------------------------------------------------------

    def _serve(self) -> None:
        while (entry := self._next()) is not None:
            request, index = entry
            try:
                self._run(request, index)
            except HubError as error:
                self._fail(request, error)
            except (RuntimeError, ValueError, MemoryError) as error:
                self._fail(request, failed(error, "this answer"))
            with self._changed:
                self._running -= 1
            self._choice_ended(request)

    def _next(self) -> tuple[Request, int] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if self._closing:
                return None
            self._running += 1
            return self._waiting.popleft()

    def _run(self, request: Request, index: int) -> None:
        """Raises: HubError."""
        if request.given_up:
            return
        if request.ask is None:
            request.ask = self._ask(request)
            if not request.ask.seeded:
                self._queue_other_choices(request, request.ask.n)
            with self._changed:
                self._counters.prompt_tokens += request.ask.prompt_tokens
        # Rounding depends on what is computed together: seeded choices come one after the other.
        for each in range(request.ask.n) if request.ask.seeded else (index,):
            self._run_choice(request, request.ask, each)

    def _run_choice(self, request: Request, ask: Ask, index: int) -> None:
        body = request.job.body
        if isinstance(body, wire.Generate) and body.echo:
            request.send(wire.Delta(index=index, text=self._echo(body, ask)))
        self._choice(request, ask, index).run()

    def _ask(self, request: Request) -> Ask:
        body = request.job.body
        if isinstance(body, wire.Probe):
            sampling = wire.Sampling(max_tokens=1, temperature=0.0, ignore_eos=True)
            body = wire.Generate(prompt=wire.TextPrompt(text="a"), sampling=sampling)
        if not isinstance(body, wire.Generate):
            raise UnsupportedModel("this model generates text and nothing else")
        return prepare(body, self._encoder, self._context_tokens, self._tools.eyes)

    def _echo(self, body: wire.Generate, ask: Ask) -> str:
        if isinstance(body.prompt, wire.TextPrompt):
            return body.prompt.text
        return self._tools.vocabulary.text_of(ask.tokens)

    def _queue_other_choices(self, request: Request, n: int) -> None:
        with self._changed:
            if request.given_up:
                return
            request.choices_left += n - 1
            self._waiting.extendleft((request, index) for index in range(n - 1, 0, -1))
            self._changed.notify_all()

    def _choice(self, request: Request, ask: Ask, index: int) -> Choice:
        def prefilled(_computed: int, reused: int) -> None:
            if index == 0:
                request.cached_tokens = reused
                with self._changed:
                    self._counters.cached_tokens += reused

        return Choice(
            index=index,
            ask=ask,
            tools=self._tools,
            send=self._sender(request, index),
            prefilled=prefilled,
            gave_up=lambda: request.given_up,
        )

    def _sender(
        self, request: Request, index: int
    ) -> Callable[[Piece, wire.FinishReason | None], None]:
        emit = request.send
        quiet = isinstance(request.job.body, wire.Probe)
        with_logprobs = request.ask is not None and request.ask.logprobs is not None

        def send(piece: Piece, finish: wire.FinishReason | None) -> None:
            self._count(request, piece.tokens)
            if not quiet:
                logprobs = piece.logprobs if with_logprobs else None
                emit(
                    wire.Delta(
                        index=index,
                        text=piece.text,
                        tokens=piece.tokens,
                        logprobs=logprobs,
                        finish_reason=finish,
                    )
                )

        return send

    def _count(self, request: Request, tokens: int) -> None:
        request.first_s = request.first_s or time.monotonic() - request.started_s
        with self._changed:
            request.completion_tokens += tokens
            self._counters.completion_tokens += tokens
            self._counters.steps += 1

    def _fail(self, request: Request, error: HubError) -> None:
        with self._changed:
            request.failure = request.failure or error
            request.given_up = True
        self._wake_roads()

    def _choice_ended(self, request: Request) -> None:
        """Answer the request when this was its last choice."""
        with self._changed:
            if request.failure is not None:
                ours = [entry for entry in self._waiting if entry[0] is request]
                for entry in ours:
                    self._waiting.remove(entry)
                request.choices_left -= len(ours)
            request.choices_left -= 1
            if request.choices_left > 0:
                return
            self._requests.pop(request.job.stream, None)
        request.job.emit(failure_of(request.failure) if request.failure else request.done())


def _road(lane: Lane, settings: Settings, token_bytes: int) -> Road:
    """Raises: LoadFailed, EngineOutOfMemory."""
    try:
        return Road(lane, LlamaServer(settings), KvBudget(lane.kv_tokens))
    except LoadFailed as error:
        size = lane.allocated_tokens * token_bytes + COMPUTE_BYTES
        if settings.gpu is None and not can_take(size):
            what = f"{sizes.text(size)} of keys, values and buffers"
            raise failed(MemoryError(error.message), what) from error
        raise


def _gpu(setting: Setting) -> int | None:
    """Return the GPU's number where one is asked for and this build of llama.cpp can use it."""
    kind, _, number = setting.device.partition(":")
    return int(number or 0) if kind == "cuda" and gpu_here() else None


def _settings(spec: wire.ModelSpec, setting: Setting, lane: Lane) -> Settings:
    gpu = _gpu(setting)
    return Settings(
        path=spec.path,
        lane=lane,
        threads=max(1, setting.threads),
        batch_tokens=CPU_BATCH_TOKENS if gpu is None else CUDA_BATCH_TOKENS,
        gpu=gpu,
        kv_type=_kv_type(spec),
        projector=spec.projector,
    )


def _kv_type(spec: wire.ModelSpec) -> str:
    """Raises: LoadFailed."""
    asked = spec.options.get("kv_type", "f16")
    if asked not in KV_SHARES:
        raise LoadFailed(f"option kv_type {asked!r} is not one of {', '.join(KV_SHARES)}")
    return str(asked)


def _kv_token_bytes(spec: wire.ModelSpec, header: GgufHeader) -> int:
    return int(header.kv_bytes_per_token() * KV_SHARES[_kv_type(spec)])


def _lanes(spec: wire.ModelSpec, setting: Setting, header: GgufHeader, gpu: bool) -> list[Lane]:
    """Raises: LoadFailed, OutOfMemory."""
    own = header.context_tokens or 4_096
    context = min(spec.context_tokens or own, own)
    free_bytes = setting.kv_bytes or DEFAULT_KV_BYTES
    if setting.memory_bytes and not setting.kv_bytes:
        held_bytes = header.weights_bytes + llama_vision.size_bytes(spec.projector)
        free_bytes = setting.memory_bytes - held_bytes - OTHER_BYTES
    fits = free_bytes // max(1, _kv_token_bytes(spec, header))
    most = spec.options.get("kv_tokens", MAX_KV_TOKENS)
    if isinstance(most, bool | str | float) or most < 1:
        raise LoadFailed(f"option kv_tokens must be a number of tokens, not {most!r}")
    running = max(1, min(spec.max_concurrency, MAX_RUNNING))
    return plan(context, running, min(most, fits), gpu, sees=bool(spec.projector))


ENGINE = LlmGguf
