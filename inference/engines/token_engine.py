"""What the engines with transformers' language models share: threads, memory, continuous batching.

Two threads: one encodes prompts, one computes. `submit` and `cancel` only hand over. Each kind of model
says in a file of its own how its folder is opened and its prompts are read.
"""

import threading
import time
from abc import abstractmethod
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from inference import wire
from inference.engines.adapters import AdapterStore
from inference.engines.base import Engine, Job, Setting, failure_of
from inference.engines.batching import Batch, Limits
from inference.engines.checkpoint import Checkpoint, choose_dtype
from inference.engines.choice import MAX_CHOICES, Request, room_for
from inference.engines.decoder import FIRST_IMAGE, Decoder
from inference.engines.footprint import Footprint
from inference.engines.kv_cache import KvPool, capacities
from inference.engines.kv_memory import KvMemory
from inference.engines.lora import Lora, LoraFile
from inference.engines.prefix_cache import PrefixCache
from inference.engines.prompts import PromptEncoder, check_vectors, param_of
from inference.engines.sampling import Sampler, make_sampler
from inference.engines.vocabulary import Vocabulary
from inference.errors import (
    EngineFailed,
    HubError,
    InvalidValue,
    LoadFailed,
    OutOfMemory,
    UnsupportedModel,
)

DEFAULT_CONTEXT_TOKENS = 2048  # for a config that does not name its limit
PREFIX_SHARE = 0.25  # of the memory for keys and values
PREFIX_BYTES = 512 * 1024**2  # where no limit is given
ADAPTER_SHARE = 0.25  # of the memory for keys and values, at least
ADAPTER_BYTES = 1024**3  # where no limit is given
RESERVE_BYTES = {"cpu": 64 * 1024**2, "cuda": 512 * 1024**2}  # for what a step computes with
CUDA_SHARE = 0.9  # of the device's free memory, where no limit is given


@dataclass(frozen=True, slots=True)
class Ready:
    """A request that the computing thread can take."""

    request: Request
    samplers: list[Sampler]


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that the encoding thread found wrong."""

    job: Job
    error: HubError


@dataclass(frozen=True, slots=True)
class Gone:
    """An adapter that left: what was kept of its conversations leaves too."""

    key: str


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a kind of device is used best."""

    limits: Limits
    first_capacity: int
    capacity_factor: int


TUNING = {
    "cpu": Tuning(Limits(rows=64, alone_tokens=512, beside_tokens=128), 128, 2),
    "cuda": Tuning(
        Limits(rows=256, alone_tokens=8192, beside_tokens=2048, block_tokens=256), 256, 4
    ),
}


class TokenEngine(Engine):
    capabilities: ClassVar[list[str]] = ["chat", "completions"]
    _decoder: Decoder
    _prompts: PromptEncoder

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._inbox: deque[Ready | Refused | Gone | int] = deque()  # a number: cancel that stream
        self._known: set[int] = set()  # submitted and not ended
        self._cancelled: set[int] = set()  # before they arrived
        self._refusal: str | None = None  # why nothing is taken any more
        self._stopping = False
        self._leases: dict[int, Lora] = {}  # by stream
        self._encoding = ThreadPoolExecutor(1, thread_name_prefix="encode")
        self._attaching = ThreadPoolExecutor(
            1, thread_name_prefix="attach", initializer=lambda: torch.set_num_threads(self._threads)
        )
        self._thread = threading.Thread(target=self._serve, name="compute", daemon=True)

    # --- contract -------------------------------------------------------------------------------

    def load(self, spec: wire.ModelSpec, setting: Setting) -> wire.Loaded:
        started_s = time.monotonic()
        self._threads = max(1, setting.threads)
        torch.set_num_threads(self._threads)
        self._device = torch.device(setting.device)
        footprint = Footprint(setting.device)
        checkpoint = Checkpoint.open(spec.path)
        dtype = choose_dtype(spec.dtype, self._device)
        self._vocabulary = Vocabulary.load(checkpoint.folder)
        self._open(checkpoint, spec, dtype, setting)
        tuning = TUNING[self._device.type]
        own = checkpoint.context_tokens or DEFAULT_CONTEXT_TOKENS
        self._context = min(spec.context_tokens or own, own)
        self._memory = self._make_memory(tuning)
        self._adapters = self._make_store(dtype)
        self._memory.beside = lambda: self._adapters.nbytes
        limits = replace(tuning.limits, rows=max(tuning.limits.rows, spec.max_concurrency))
        ends = checkpoint.end_tokens(self._vocabulary.hf.eos_token_id)
        ends |= self._prompts.infill.ends if self._prompts.infill else frozenset()
        self._batch = Batch(self._decoder, self._vocabulary, ends, self._memory, limits)
        self._thread.start()
        self._warm_up()
        limit_bytes = self._limit_memory(spec, setting, footprint)
        return wire.Loaded(
            memory_bytes=footprint.total_bytes,
            weights_bytes=self._decoder.weights_bytes,
            kv_bytes=self._batch.kv_bytes,
            kv_limit_bytes=limit_bytes,
            device=setting.device,
            dtype=str(dtype).removeprefix("torch."),
            context_tokens=self._context,
            load_s=time.monotonic() - started_s,
            capabilities=self.capabilities,
        )

    def submit(self, job: Job) -> None:
        with self._wake:
            refusal = self._refusal
            if refusal is None:
                self._known.add(job.stream)
                self._lane(job).submit(self._encode, self._tracked(job))
                return
        job.emit(failure_of(EngineFailed(refusal)))

    def cancel(self, stream: int) -> None:
        with self._wake:
            if stream in self._known:
                self._inbox.append(stream)
                self._wake.notify()

    def detach(self, adapter: str) -> None:
        for key in self._adapters.let_go(adapter):
            self._hand_over(Gone(key))

    def stats(self) -> wire.Stats:
        counters = self._batch.counters
        return wire.Stats(
            running=self._batch.requests - self._batch.waiting,
            waiting=self._batch.waiting,
            kv_bytes=self._batch.kv_bytes,
            steps_total=counters.steps,
            prompt_tokens_total=counters.prompt_tokens,
            completion_tokens_total=counters.completion_tokens,
            cached_tokens_total=counters.cached_tokens,
            cancelled_total=counters.cancelled,
            adapters=self._adapters.names(),
            adapters_bytes=self._adapters.nbytes,
            worked=self._batch.most.told(),
        )

    def close(self) -> None:
        self._refuse("the model is being unloaded")
        self._attaching.shutdown()
        self._encoding.shutdown()
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _refuse(self, why: str) -> None:
        with self._wake:
            self._refusal = why

    # --- loading --------------------------------------------------------------------------------

    @abstractmethod
    def _open(
        self, checkpoint: Checkpoint, spec: wire.ModelSpec, dtype: torch.dtype, setting: Setting
    ) -> None:
        """Make the decoder and what encodes its prompts. Raises: LoadFailed."""

    def _make_memory(self, tuning: Tuning) -> KvMemory:
        sizes = capacities(self._context, tuning.first_capacity, tuning.capacity_factor)
        return KvMemory(KvPool(self._decoder.layout, sizes), PrefixCache(PREFIX_BYTES))

    def _make_store(self, dtype: torch.dtype) -> AdapterStore:
        decoder, device = self._decoder, self._device
        kept = torch.float32 if device.type == "cpu" else dtype
        return AdapterStore(
            lambda adapter: LoraFile(adapter, decoder.place, kept),
            lambda file: file.read(device),
            ADAPTER_BYTES,
            self._memory.room_beside,
        )

    def _warm_up(self) -> None:
        """Compute one real token. Raises: LoadFailed."""
        ended = threading.Event()
        frames: list[wire.Any] = []

        def emit(frame: wire.Any) -> None:
            frames.append(frame)
            ended.set()

        self.submit(Job(0, wire.Probe(), emit))
        ended.wait()
        if isinstance(frames[-1], wire.Failure):
            raise LoadFailed(f"the first token failed: {frames[-1].message}")

    def _limit_memory(self, spec: wire.ModelSpec, setting: Setting, footprint: Footprint) -> int:
        """Bound keys and values by what was given to them, or what the weights left; 0: no bound.

        Raises: OutOfMemory.
        """
        limit = _kv_limit(setting, self._device, footprint)
        asked = spec.options.get("prefix_cache_bytes")
        kept = int(limit * PREFIX_SHARE) if limit else PREFIX_BYTES
        self._memory.limit(limit, kept if asked is None else int(asked))
        if limit:
            self._adapters.limit_bytes = max(spec.adapters_bytes, int(limit * ADAPTER_SHARE))
        return limit

    # --- the encoding thread --------------------------------------------------------------------

    def _lane(self, job: Job) -> ThreadPoolExecutor:
        """Choose the thread that encodes a prompt: nobody waits for another's adapter to be read."""
        adapter = job.body.adapter if isinstance(job.body, wire.Generate) else None
        if adapter is None or self._adapters.holds(adapter):
            return self._encoding
        return self._attaching

    def _prompt(self, body: wire.Generate) -> tuple[list[int], object]:
        """Give the prompt's tokens, and what they refer to. Raises: HubError."""
        return self._prompts.encode(body.prompt, self._context), None

    def _encode(self, job: Job) -> None:
        item: Ready | Refused
        try:
            item = self._ready(job)
        except HubError as error:
            item = Refused(job, error)
        except Exception as error:  # noqa: BLE001 (one request's fault is its own)
            item = Refused(job, EngineFailed(f"the prompt could not be encoded: {error}"))
        self._hand_over(item)

    def _ready(self, job: Job) -> Ready:
        """Raises: HubError."""
        body = job.body
        silent = isinstance(body, wire.Probe)
        if isinstance(body, wire.Probe):
            rules = wire.Sampling(max_tokens=1, temperature=0)
            body = wire.Generate(prompt=wire.TokenPrompt(tokens=[0]), sampling=rules)
        if not isinstance(body, wire.Generate):
            raise UnsupportedModel("this model generates text and nothing else")
        if not 1 <= body.n <= MAX_CHOICES:
            raise InvalidValue(f"n must be between 1 and {MAX_CHOICES}", param="n")
        lora = self._leased(job.stream, body.adapter)
        prompt, held = self._prompt(body)
        room = room_for(body, prompt, self._context, param_of(body.prompt))
        vocab = self._decoder.vocab_tokens
        words = [token for token in prompt if token < FIRST_IMAGE]
        check_vectors(words, vocab, param_of(body.prompt))
        samplers = [make_sampler(body, at, words, vocab, self._device) for at in range(body.n)]
        places, whole = self._decoder.places(prompt), self._decoder.whole_images
        return Ready(Request(job, body, prompt, room, silent, held, lora, places, whole), samplers)

    def _leased(self, stream: int, adapter: wire.Adapter | None) -> Lora | None:
        """Attach the adapter that a request asks for. Raises: HubError."""
        if adapter is None:
            return None
        lora = self._leases[stream] = self._adapters.lease(adapter)
        return lora

    def _hand_over(self, item: "Ready | Refused | Gone | int") -> None:
        with self._wake:
            self._inbox.append(item)
            self._wake.notify()

    # --- the computing thread -------------------------------------------------------------------

    def _serve(self) -> None:
        torch.set_num_threads(self._threads)
        try:
            while self._take_in():
                self._batch.step()
            self._batch.fail_all(EngineFailed("the model is being unloaded"))
        except Exception as error:  # noqa: BLE001 (a device that is lost, say)
            self._lose(EngineFailed(f"the engine is lost: {error}"))

    def _take_in(self) -> bool:
        """Wait for work and take it; False when the engine closes."""
        with self._wake:
            self._wake.wait_for(lambda: self._inbox or self._stopping or not self._batch.idle)
            items, stopping = list(self._inbox), self._stopping
            self._inbox.clear()
        for item in items:
            self._accept(item)
        return not stopping

    def _accept(self, item: "Ready | Refused | Gone | int") -> None:
        match item:
            case Ready(request, samplers) if request.job.stream not in self._cancelled:
                if request.lora is not None:
                    self._memory.settle()
                self._batch.add(request, samplers)
            case Ready(request, _):
                self._cancelled.discard(request.job.stream)
                self._batch.counters.cancelled += 1
                request.job.emit(wire.Done())
            case Refused(job, error):
                self._cancelled.discard(job.stream)
                job.emit(failure_of(error))
            case Gone(key):
                self._memory.forget(key)
            case int() as stream if not self._batch.cancel(stream) and stream in self._known:
                self._cancelled.add(stream)

    def _lose(self, error: EngineFailed) -> None:
        """Answer everybody; from here on the engine refuses, and its node replaces it."""
        with self._wake:
            self._refusal = error.message
            items = list(self._inbox)
        self._batch.abandon(error)
        for item in items:
            if isinstance(item, Ready | Refused):
                job = item.job if isinstance(item, Refused) else item.request.job
                job.emit(failure_of(error))

    def _tracked(self, job: Job) -> Job:
        """Forget the job with its last frame."""

        def emit(frame: wire.Any) -> None:
            if isinstance(frame, wire.Done | wire.Failure):
                with self._wake:
                    self._known.discard(job.stream)
                    lora = self._leases.pop(job.stream, None)
                if lora is not None:
                    self._adapters.give_back(lora)
            job.emit(frame)

        return Job(job.stream, job.body, emit)


def _kv_limit(setting: Setting, device: torch.device, footprint: Footprint) -> int:
    """Give the bytes for keys and values; 0: no limit. Raises: OutOfMemory."""
    if setting.kv_bytes:
        return setting.kv_bytes
    if not setting.memory_bytes:
        if device.type != "cuda":
            return 0
        free_bytes: int = torch.cuda.mem_get_info(device)[0]
        return int(free_bytes * CUDA_SHARE)
    limit = setting.memory_bytes - footprint.total_bytes - RESERVE_BYTES[device.type]
    if limit <= 0:
        raise OutOfMemory(
            f"the loaded model takes {footprint.total_bytes:,} bytes and leaves nothing of the "
            f"{setting.memory_bytes:,} bytes it was given for its answers"
        )
    return limit
