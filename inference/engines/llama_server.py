"""llama.cpp's server inside this process: streams by callback, single steps over a private socket.

Used by `llm_gguf` only. Calls block their thread and are safe from many threads at once.
"""

import contextlib
import http.client
import os
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import xllamacpp

from inference.engines.base import NO_NUMBERS
from inference.engines.confine import narrow_stacks
from inference.engines.llama_lanes import Lane
from inference.errors import ContextLengthExceeded, EngineFailed, HubError, LoadFailed

QUIET = 1  # errors only
KV_TYPES = {"f16": 1, "q8_0": 8}  # Source: enum ggml_type of ggml.h
REQUEST_TIMEOUT_S = 600.0
JSON = {"Content-Type": "application/json"}
PREFIX, SOCKET = "hub-llama-", "s.sock"
STACK_BYTES = 1024 * 1024  # of its threads, two for each slot; on macOS it has 512 KiB
MARK = f"<__media_{secrets.token_hex(16)}__>"  # stands for an image; nobody can guess and write it
os.environ["LLAMA_MEDIA_MARKER"] = MARK  # llama.cpp reads it once in a process
CONTENT_ONLY = "{% for message in messages %}{{ message.content }}{% endfor %}"
EVENT = b"data: "


@dataclass(frozen=True, slots=True)
class Settings:
    path: str
    lane: Lane
    threads: int
    batch_tokens: int  # most prompt tokens computed in one step
    gpu: int | None  # the GPU's number, or None for the CPU
    kv_type: str = "f16"
    projector: str = ""  # a GGUF file, for images


class Timings(msgspec.Struct):
    cache_n: int = 0
    prompt_n: int = 0
    predicted_n: int = 0


class ChunkChoice(msgspec.Struct):
    text: str = ""
    finish_reason: str | None = None


class Problem(msgspec.Struct):
    message: str = ""
    type: str = ""


class Chunk(msgspec.Struct):
    choices: list[ChunkChoice] = []
    timings: Timings = msgspec.field(default_factory=Timings)
    error: Problem | None = None


class Alternative(msgspec.Struct):
    id: int
    found: float | None = msgspec.field(name="logprob")  # null for what is no number
    bytes: list[int] = []

    @property
    def logprob(self) -> float:
        """Raises: EngineFailed."""
        if self.found is None:
            raise EngineFailed(NO_NUMBERS)
        return self.found


class Chosen(Alternative):
    top_logprobs: list[Alternative] = []


class Step(msgspec.Struct):
    """The answer to a request for one token."""

    tokens: list[int] = []
    tokens_predicted: int = 0
    stop_type: str = ""
    timings: Timings = msgspec.field(default_factory=Timings)
    completion_probabilities: list[Chosen] = []
    error: Problem | None = None


class _Event(msgspec.Struct):
    """A piece of an answer that does not come by callback."""

    content: str = ""
    stop_type: str = ""
    timings: Timings = msgspec.field(default_factory=Timings)
    error: Problem | None = None


class _Counted(msgspec.Struct):
    input_tokens: int = 0
    error: Problem | None = None


class _Tokens(msgspec.Struct):
    tokens: list[int]


class _Content(msgspec.Struct):
    content: str


FIRST_TOKEN = {"prompt": [0], "n_predict": 1, "n_probs": 1, "cache_prompt": False}
_chunks = msgspec.json.Decoder(Chunk)
_steps = msgspec.json.Decoder(Step)
_events = msgspec.json.Decoder(_Event)
FINISH = {"eos": "stop", "word": "stop", "limit": "length"}


class LlamaServer:
    def __init__(self, settings: Settings) -> None:
        """Raises: LoadFailed."""
        _sweep()
        self._folder = Path(tempfile.mkdtemp(prefix=PREFIX))  # mode 0700: nobody else gets in
        self._socket = str(self._folder / SOCKET)
        self._local = threading.local()
        self._sees = bool(settings.projector)
        narrow_stacks(STACK_BYTES)
        try:
            self._server: Any = xllamacpp.Server(_params(settings, self._socket))
        except RuntimeError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            name = Path(settings.path).name
            raise LoadFailed(f"{name} cannot be loaded by llama.cpp: {error}") from error
        self._try_out()

    def _try_out(self) -> None:
        """Compute one token: llama.cpp says nothing of weights that are no numbers. Raises: LoadFailed."""
        try:
            for told in self.step(FIRST_TOKEN).completion_probabilities:
                _ = told.logprob
        except HubError as error:
            self.close()
            raise LoadFailed(f"the first token failed: {error.message}") from error

    def close(self) -> None:
        """Only when no call is running."""
        self._server = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def stream(self, request: dict[str, Any], on_chunk: Callable[[Chunk], bool]) -> None:
        """Generate; `on_chunk` returns True to stop.

        Raises: what `on_chunk` raised; EngineFailed, ContextLengthExceeded from llama.cpp.
        """
        if self._sees:  # then llama.cpp's callback takes no tokens, nor images
            self._stream_events(request, lambda data: on_chunk(_chunk(data)))
        else:
            self._stream_calls(request, on_chunk)

    def _stream_calls(self, request: dict[str, Any], on_chunk: Callable[[Chunk], bool]) -> None:
        failures: list[BaseException] = []

        def receive(raw: bytes) -> bool:
            try:
                chunk = _chunks.decode(raw)
                if chunk.error is not None:
                    raise _problem(chunk.error)
                return on_chunk(chunk)
            except BaseException as error:  # noqa: BLE001  C++ would swallow it
                failures.append(error)
                return True

        self._server.handle_completions(msgspec.json.encode(request), receive)
        if failures:
            raise failures[0]

    def _stream_events(self, request: dict[str, Any], on_event: Callable[[bytes], bool]) -> None:
        connection = _UnixConnection(self._socket)
        try:
            connection.request("POST", "/completion", msgspec.json.encode(request), JSON)
            line = connection.sock
            answer = connection.getresponse()
            if answer.status != http.HTTPStatus.OK:
                raise _problem(_events.decode(answer.read()).error or Problem("no reason given"))
            while event := answer.readline():
                if event.startswith(EVENT) and on_event(event[len(EVENT) :]):
                    _hang_up(line, answer)
                    return
        except (OSError, http.client.HTTPException) as error:
            raise EngineFailed(f"llama.cpp did not answer: {error}") from error
        finally:
            connection.close()

    def count(self, texts: Sequence[str], pictures: Sequence[str]) -> int:
        """Count the tokens of texts with pictures between them; nothing is computed.

        Raises: EngineFailed.
        """
        parts: list[dict[str, Any]] = [{"type": "text", "text": texts[0]}]
        for text, picture in zip(texts[1:], pictures, strict=True):
            url = {"url": f"data:image/png;base64,{picture}"}
            parts += [{"type": "image_url", "image_url": url}, {"type": "text", "text": text}]
        messages = [{"role": "user", "content": [part for part in parts if part.get("text") != ""]}]
        answer = self._post("/v1/chat/completions/input_tokens", {"messages": messages})
        counted = msgspec.json.decode(answer, type=_Counted)
        if counted.error is not None:
            raise _problem(counted.error)
        return counted.input_tokens

    def step(self, request: dict[str, Any]) -> Step:
        """Generate what `request` says in one answer.

        Raises: EngineFailed, ContextLengthExceeded.
        """
        return _step(self._post("/completion", request))

    def first_step(self, request: dict[str, Any], gave_up: Callable[[], bool]) -> Step:
        """The same where the prompt is still to be computed: that ends when `gave_up` says so.

        Raises: EngineFailed, ContextLengthExceeded.
        """
        found = Step()

        def take(data: bytes) -> bool:
            step = _step(data)
            if step.tokens_predicted:  # else it tells how far the prompt is
                found.tokens = found.tokens or step.tokens
                found.completion_probabilities += step.completion_probabilities
                found.stop_type, found.timings = step.stop_type, step.timings
            return gave_up()

        self._stream_events(request | {"stream": True, "return_progress": True}, take)
        return found

    def tokenize(self, text: str, special: bool) -> list[int]:
        request = {"content": text, "add_special": False, "parse_special": special}
        return msgspec.json.decode(self._post("/tokenize", request), type=_Tokens).tokens

    def detokenize(self, tokens: list[int]) -> str:
        answer = self._post("/detokenize", {"tokens": tokens})
        return msgspec.json.decode(answer, type=_Content).content

    def _post(self, path: str, request: dict[str, Any]) -> bytes:
        """Raises: EngineFailed."""
        body = msgspec.json.encode(request)
        for fresh in (False, True):  # a connection kept too long may be closed: once more, anew
            connection = self._connection(fresh)
            try:
                connection.request("POST", path, body, JSON)
                return connection.getresponse().read()
            except (OSError, http.client.HTTPException) as error:
                failure = error
        raise EngineFailed(f"llama.cpp did not answer: {failure}")

    def _connection(self, fresh: bool) -> "_UnixConnection":
        if fresh or not hasattr(self._local, "connection"):
            self._local.connection = _UnixConnection(self._socket)
        connection: _UnixConnection = self._local.connection
        return connection


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=REQUEST_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _sweep() -> None:
    """Remove the folders of engines that were killed: nobody listens in them any more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knock:
            try:
                knock.connect(str(folder / SOCKET))
            except ConnectionRefusedError:
                shutil.rmtree(folder, ignore_errors=True)
            except OSError:
                continue  # just being made, or not ours


def _hang_up(line: socket.socket, answer: http.client.HTTPResponse) -> None:
    """Stop what still computes, and wait until it has: its share of the cache goes to others."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        line.shutdown(socket.SHUT_WR)
        answer.read()


def _chunk(line: bytes) -> Chunk:
    """Raises: EngineFailed, ContextLengthExceeded."""
    event = _events.decode(line)
    if event.error is not None:
        raise _problem(event.error)
    finish = FINISH.get(event.stop_type)
    return Chunk([ChunkChoice(event.content, finish)], event.timings)


def _step(data: bytes) -> Step:
    """Raises: EngineFailed, ContextLengthExceeded."""
    step = _steps.decode(data)
    if step.error is not None:
        raise _problem(step.error)
    return step


def _problem(problem: Problem) -> HubError:
    if problem.type == "exceed_context_size_error":
        return ContextLengthExceeded(problem.message)
    return EngineFailed(f"llama.cpp failed: {problem.message}")


def _params(settings: Settings, socket_path: str) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = settings.path
    if settings.projector:
        params.mmproj.path = settings.projector
        params.chat_template = CONTENT_ONLY  # prompts come rendered; this one counts them
    params.mmproj_use_gpu = settings.gpu is not None
    params.n_ctx = settings.lane.allocated_tokens
    params.cache_type_k = params.cache_type_v = KV_TYPES[settings.kv_type]
    params.kv_unified = settings.lane.shared
    params.n_parallel = settings.lane.slots
    params.n_batch = max(settings.batch_tokens, settings.lane.slots)
    params.n_ubatch = params.n_batch
    params.cache_ram_mib = 0  # memory stays what was measured; the slots keep conversations
    params.fit_params = False
    params.n_gpu_layers = 0 if settings.gpu is None else -1
    params.main_gpu = settings.gpu or 0
    params.split_mode = xllamacpp.llama_split_mode.LLAMA_SPLIT_MODE_NONE
    params.verbosity = QUIET
    params.hostnames = [socket_path]
    params.n_threads_http = settings.lane.slots + 2
    params.ui = params.endpoint_slots = params.endpoint_props = params.endpoint_metrics = False
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = settings.threads
        cpu.poll = 0  # waiting threads sleep instead of spinning
    return params


def gpu_here() -> bool:
    """Say whether the installed build of llama.cpp can use a GPU that is here."""
    return any("GPU" in str(device.get("type")) for device in xllamacpp.get_device_info())
