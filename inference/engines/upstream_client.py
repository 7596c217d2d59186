"""Asks an OpenAI-compatible server for an engine: streams, vectors, transcripts, and its errors.

One event loop only; the engine gives it a thread of its own.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import httpx
import msgspec
import numpy as np

from inference import wire
from inference.engines import upstream_requests as requests
from inference.errors import (
    EngineFailed,
    HubError,
    InvalidRequest,
    LoadFailed,
    Unavailable,
    UpstreamLoop,
)

CONNECT_S = 10.0
FIRST_BYTE_S = 60.0  # from the question to the first byte of an answer
LIST_S = (
    15.0  # for the whole list of models: who waits for a load must not wait for a silent server
)
SILENCE_S = 300.0  # between two pieces of an answer
AUDIO_BYTES_PER_S = 16_000  # a recording is heard whole before the first byte: as long as it plays
EXCESS = 16  # pieces for each token that was asked for; some servers stream by the letter
MAX_ANSWER_BYTES = 256 * 1024 * 1024
MAX_LINE_BYTES = 4 * 1024 * 1024
MESSAGE_CHARS = 500
RETRY_AFTER_S = 5.0

VIA: ContextVar[str] = ContextVar("via", default="")  # the hubs that this request came through

Emit = Callable[[wire.Any], None]
Pieces = AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a server may take to be reached, and to say the first byte of an answer."""

    connect_s: float = CONNECT_S
    first_byte_s: float = FIRST_BYTE_S

    def hearing_s(self, audio_bytes: int) -> float:
        heard_s = self.first_byte_s + audio_bytes / AUDIO_BYTES_PER_S
        return max(self.first_byte_s, min(SILENCE_S, heard_s))


class Upstream:
    """`base_url` ends in /v1 and holds no credentials; `headers` may.

    `more` joins every request for text: what this server knows beyond OpenAI's fields.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        headers: Mapping[str, str],
        transport: Any = None,
        more: Mapping[str, Any] | None = None,
        patience: Patience = Patience(first_byte_s=SILENCE_S),
    ) -> None:
        self.model, self._more, self._patience = model, dict(more or {}), patience
        self._root = base_url.rstrip("/").removesuffix("/v1")
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/") + "/",
            headers={"accept-encoding": "identity"} | dict(headers),
            timeout=httpx.Timeout(SILENCE_S, connect=patience.connect_s),
            limits=httpx.Limits(max_connections=None),
            follow_redirects=False,
            trust_env=False,
            transport=transport,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def models(self) -> list[str] | None:
        """List what it serves; None where it has no such list. Raises: HubError."""
        try:
            async with asyncio.timeout(LIST_S), self._sent("GET", "models") as answer:
                if answer.status_code in {404, 405}:
                    return None
                await _check(answer)
                found = msgspec.json.decode(await _read(answer.aiter_bytes()), type=requests.Models)
        except TimeoutError as error:
            raise EngineFailed("the upstream server does not answer in time") from error
        return [model.id for model in found.data]

    async def generate(self, body: wire.Generate, emit: Emit) -> wire.Usage:
        """Emit deltas as they come. Raises: HubError; `asyncio.CancelledError` ends the tokens."""
        model = body.adapter.key if body.adapter else self.model
        path, fields = requests.generate(model, body)
        counted, used, most = 0, None, requests.most_tokens(body)
        limit_s = self._patience.first_byte_s
        async with self._answered(limit_s, path, json=fields | self._more) as answer:
            async for event in _events(answer):
                for delta in requests.deltas(event, body.n):
                    counted += delta.tokens
                    emit(delta)
                used = event.usage or used
                if most is not None and counted > most * EXCESS:
                    raise ValueError(f"it does not end at the {most} tokens that were asked for")
        return requests.usage(used) if used else wire.Usage(completion_tokens=counted)

    async def attach(self, adapter: wire.Adapter) -> None:
        """Let vLLM read an adapter. Raises: HubError."""
        fields = {"lora_name": adapter.key, "lora_path": adapter.path}
        async with self._sent("POST", "load_lora_adapter", json=fields) as answer:
            if answer.status_code != 200:
                words = _words(_parsed(await _read(answer.aiter_bytes(), MAX_LINE_BYTES)))
                raise LoadFailed(f"{adapter.name} cannot be attached by vLLM: {words}")

    async def detach(self, key: str) -> None:
        """Raises: HubError."""
        async with self._sent("POST", "unload_lora_adapter", json={"lora_name": key}) as answer:
            await _check(answer)

    async def control(self, method: str, path: str) -> bytes:
        """Call what a server offers beside OpenAI's paths. Raises: HubError."""
        async with self._sent(method, f"{self._root}/{path}") as answer:
            await _check(answer)
            return await _read(answer.aiter_bytes(), MAX_LINE_BYTES)

    async def embed(self, body: wire.Embed) -> tuple[wire.Vectors, wire.Usage]:
        """Raises: HubError."""
        fields = requests.embed(self.model, body)
        async with self._answered(self._patience.first_byte_s, "embeddings", json=fields) as answer:
            found = msgspec.json.decode(await _read(answer), type=requests.Embeddings)
        rows = [_floats(entry.embedding) for entry in sorted(found.data, key=lambda e: e.index)]
        if len(rows) != len(body.inputs) or len({len(row) for row in rows}) != 1:
            raise EngineFailed("the upstream server gave vectors that do not fit the inputs")
        data = b"".join(row.tobytes() for row in rows)
        vectors = wire.Vectors(rows=len(rows), dimensions=len(rows[0]), data=data)
        return vectors, requests.usage(found.usage)

    async def transcribe(self, body: wire.Transcribe) -> requests.Transcript:
        """Raises: HubError."""
        path = "audio/translations" if body.task == "translate" else "audio/transcriptions"
        form: dict[str, list[str]] = {}
        for name, value in requests.transcribe(self.model, body):
            form.setdefault(name, []).append(value)
        files = {"file": ("audio", body.audio)}
        limit_s = self._patience.hearing_s(len(body.audio))
        async with self._answered(limit_s, path, data=form, files=files) as answer:
            return msgspec.json.decode(await _read(answer), type=requests.Transcript)

    @asynccontextmanager
    async def _answered(
        self, first_byte_s: float, path: str, **content: Any
    ) -> AsyncIterator[Pieces]:
        """Give an answer whose first byte came in time; from then on only silence ends it. Raises: HubError."""
        until_first = asyncio.timeout(first_byte_s)
        try:
            async with until_first, self._sent("POST", path, **content) as answer:
                await _check(answer)
                pieces = answer.aiter_bytes()
                first = await anext(pieces, b"")
                until_first.reschedule(None)
                yield _chained(first, pieces)
        except TimeoutError as error:
            raise EngineFailed("the upstream server does not answer in time") from error

    @asynccontextmanager
    async def _sent(self, method: str, path: str, **content: Any) -> AsyncIterator[httpx.Response]:
        """Raises: EngineFailed where the server cannot be reached, falls silent or talks nonsense."""
        try:
            headers = {"via": VIA.get()} if VIA.get() else {}
            async with self._client.stream(method, path, headers=headers, **content) as answer:
                _check_plain(answer)
                yield answer
        except httpx.ConnectError as error:
            raise EngineFailed("the upstream server cannot be reached") from error
        except httpx.TimeoutException as error:
            raise EngineFailed("the upstream server does not answer in time") from error
        except httpx.HTTPError as error:
            raise EngineFailed(f"the upstream server broke off: {type(error).__name__}") from error
        except (msgspec.MsgspecError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise EngineFailed(f"the upstream server gave no valid answer: {error}") from error


def _floats(found: str | list[float]) -> np.ndarray[Any, np.dtype[np.float32]]:
    if isinstance(found, str):
        return np.frombuffer(base64.b64decode(found), "<f4")
    return np.asarray(found, "<f4")


# --- reading --------------------------------------------------------------------------------------


def _check_plain(answer: httpx.Response) -> None:
    """What unpacks to a thousand times its size is not unpacked. Raises: ValueError."""
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise ValueError("it is compressed, though plain bytes were asked for")


async def _chained(first: bytes, rest: Pieces) -> Pieces:
    yield first
    async for piece in rest:
        yield piece


async def _read(pieces: Pieces, limit: int = MAX_ANSWER_BYTES) -> bytes:
    body = bytearray()
    async for chunk in pieces:
        body += chunk
        if len(body) > limit:
            raise ValueError(f"an answer of over {limit} bytes")
    return bytes(body)


async def _events(pieces: Pieces) -> AsyncIterator[requests.Event]:
    """Yield a stream's events until `[DONE]`. Raises: EngineFailed, ValueError."""
    decoder = msgspec.json.Decoder(requests.Event)
    async for data in _data_lines(pieces):
        if data == b"[DONE]":
            return
        event = decoder.decode(data)
        if event.error:
            raise EngineFailed(f"the upstream server failed: {_words(event.error)}")
        yield event
    raise EngineFailed("the upstream server ended its answer without [DONE]")


async def _data_lines(pieces: Pieces) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in pieces:
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            raise ValueError(f"a line of over {MAX_LINE_BYTES} bytes")
        for line in lines:
            if line.startswith(b"data:"):
                yield line[5:].strip()


# --- its errors -----------------------------------------------------------------------------------


async def _check(answer: httpx.Response) -> None:
    """Raises: the hub's error for what the upstream server refused."""
    if answer.status_code == 200:
        return
    body = await _read(answer.aiter_bytes(), MAX_LINE_BYTES)
    raise _error(answer.status_code, answer.headers, _parsed(body))


def _error(status: int, headers: Mapping[str, str], body: dict[str, Any]) -> HubError:
    """Tell apart who failed: the caller's request, the hub's credentials, or the server.

    What a server says about credentials may quote them, so its words are not passed on.
    """
    if status in {401, 403}:
        return LoadFailed("the upstream server refuses the hub's credentials; renew its key")
    if status in {429, 503}:
        wait_s = _retry_after(headers)
        return Unavailable("the upstream server is over its limit", retry_after_s=wait_s)
    if status == UpstreamLoop.status:
        return UpstreamLoop("the upstream servers lead to one another in a circle")
    if status == 404:
        return EngineFailed("the upstream server knows no such model or endpoint")
    if 400 <= status < 500:
        param = body.get("param")
        return InvalidRequest(_words(body), param=param if isinstance(param, str) else None)
    return EngineFailed(f"the upstream server failed with status {status}")


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        return min(600.0, max(0.0, float(headers.get("retry-after", RETRY_AFTER_S))))
    except ValueError:
        return RETRY_AFTER_S


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    error = found.get("error", found) if isinstance(found, dict) else {}
    return error if isinstance(error, dict) else {"message": str(error)}


def _words(error: Mapping[str, Any]) -> str:
    return str(error.get("message") or "it gave no reason")[:MESSAGE_CHARS]
