"""The engine that hands its work to another server: to a real hub, and to servers that misbehave."""

import gzip
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference import wire
from inference.engines import upstream_client
from inference.engines.remote_openai import RemoteOpenai
from inference.errors import LoadFailed
from tests import models, servers
from tests.inference.engines.driving import Answer, Driver

KEY = "sk-canary-0123456789"
HELLO = [wire.ChatMessage("user", "Say hello.")]


def row(name: str, kind: str, engine: str, path: Path | str, **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "engine": engine, "path": str(path)} | more


def spec(base_url: str, model: str, kind: Any = "llm", **options: Any) -> wire.ModelSpec:
    fixed: dict[str, Any] = {"base_url": base_url, "upstream_model": model}
    fixed["private_upstream"] = True
    return wire.ModelSpec(
        name="far", kind=kind, engine="remote_openai", path=base_url, options=fixed | options
    )


@pytest.fixture(scope="module")
def upstream() -> Iterator[servers.Hub]:
    """Another hub, with one real model of each kind and one that never ends."""
    gguf, speech = models.smollm2_gguf(), models.whisper_tiny_en()
    slow = {"options": {"tokens_per_s": 20, "reply": "la"}}
    rows = [
        row("chat", "llm", "llm_gguf", gguf, context_tokens=2048),
        row("vectors", "embed", "embed_text", models.minilm()),
        row("ears", "asr", "asr_whisper", speech),
        row("slow", "llm", "fake", "/m", settings=slow),
    ]
    with servers.hub(rows) as hub:
        yield hub


@pytest.fixture(scope="module")
def opened(upstream: servers.Hub) -> Iterator[Callable[..., Driver]]:
    drivers: dict[str, Driver] = {}

    def open_model(model: str, kind: str = "llm") -> Driver:
        if model not in drivers:
            asked = spec(f"{upstream.url}/v1", model, kind, api_key=upstream.key)
            drivers[model] = Driver(RemoteOpenai(), asked)
        return drivers[model]

    yield open_model
    for driver in drivers.values():
        driver.engine.close()


def text_of(answer: Answer, index: int = 0) -> str:
    return "".join(d.text for d in answer.of(wire.Delta) if d.index == index)


def generate(prompt: wire.Prompt, **rules: Any) -> wire.Generate:
    more = {name: rules.pop(name) for name in ("n", "logprobs", "echo") if name in rules}
    sampling = wire.Sampling(**{"temperature": 0.0, "max_tokens": 12} | rules)
    return wire.Generate(prompt=prompt, sampling=sampling, **more)


@pytest.mark.models
def test_it_answers_as_its_upstream_does(opened: Any, upstream: servers.Hub) -> None:
    answer = opened("chat").ask(generate(wire.ChatPrompt(messages=HELLO), n=2, logprobs=2))
    body = {
        "model": "chat",
        "messages": [{"role": "user", "content": "Say hello."}],
        "temperature": 0,
        "max_tokens": 12,
    }
    with upstream.client() as client:
        direct = client.post("/chat/completions", json=body).json()
    done = answer.wait()
    assert text_of(answer) == text_of(answer, 1) == direct["choices"][0]["message"]["content"]
    assert done.usage.prompt_tokens == direct["usage"]["prompt_tokens"]
    assert done.usage.completion_tokens == 2 * direct["usage"]["completion_tokens"]
    logprobs = [lp for d in answer.of(wire.Delta) if d.index == 0 for lp in d.logprobs or []]
    assert b"".join(lp.raw for lp in logprobs).decode() == text_of(answer)
    assert all(len(lp.top) == 2 for lp in logprobs)
    reasons = {d.index: d.finish_reason for d in answer.of(wire.Delta) if d.finish_reason}
    assert set(reasons) == {0, 1}


@pytest.mark.models
def test_it_completes_text(opened: Any) -> None:
    answer = opened("chat").ask(generate(wire.TextPrompt(text="One, two, three,"), stop=["\n"]))
    assert text_of(answer)
    assert isinstance(answer.wait(), wire.Done)


@pytest.mark.models
def test_it_embeds(opened: Any) -> None:
    answer = opened("vectors", "embed").ask(wire.Embed(inputs=["a cat", "a kitten"]))
    (vectors,) = answer.of(wire.Vectors)
    assert (vectors.rows, vectors.dimensions) == (2, 384)
    assert len(vectors.data) == 2 * 384 * 4


@pytest.mark.models
def test_it_transcribes_with_words(opened: Any, speech_file: Path) -> None:
    body = wire.Transcribe(audio=speech_file.read_bytes(), words=True)
    answer = opened("ears", "asr").ask(body)
    segments = answer.of(wire.Segment)
    words = [word.word.strip() for segment in segments for word in segment.words]
    assert " ".join(words) == "".join(s.text for s in segments).strip()
    assert answer.wait().duration_s > 1


@pytest.fixture
def speech_file() -> Path:
    return sorted((servers.ROOT / "tests" / "data" / "speech").glob("*.flac"))[0]


def test_a_cancel_stops_the_upstream(opened: Any, upstream: servers.Hub) -> None:
    driver = opened("slow")
    answer = driver.start(generate(wire.ChatPrompt(messages=HELLO), max_tokens=4000))
    answer.wait_for(lambda: len(answer.frames) > 2)
    driver.engine.cancel(answer.stream)
    done = answer.wait()
    assert 2 < done.usage.completion_tokens < 100
    headers = {"Authorization": f"Bearer {upstream.keys['default']}"}
    with httpx.Client(base_url=upstream.url, headers=headers) as client:
        until = threading.Event()
        for _ in range(100):
            found = client.get("/v1/models/slow")
            assert found.status_code == 200
            if "client left" in upstream.log("web"):
                until.set()
                break
            until.wait(0.1)
    assert until.is_set()


def test_a_bad_request_is_the_callers(opened: Any) -> None:
    failure = opened("chat").failure(
        generate(wire.ChatPrompt(messages=HELLO), max_tokens=1_000_000)
    )
    assert failure.code in {"invalid_request", "context_length_exceeded"}
    assert "2048" in failure.message


def test_it_names_a_model_that_is_not_there(upstream: servers.Hub) -> None:
    with pytest.raises(LoadFailed, match="no ghost; it has chat"):
        Driver(RemoteOpenai(), spec(f"{upstream.url}/v1", "ghost", api_key=upstream.key))


def test_a_refused_key_is_not_told_to_anybody(upstream: servers.Hub) -> None:
    with pytest.raises(LoadFailed, match="renew its key") as caught:
        Driver(RemoteOpenai(), spec(f"{upstream.url}/v1", "chat", api_key=KEY))
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"]
)
def test_it_does_not_call_private_addresses_unless_told(host: str) -> None:
    asked = spec(f"http://{host}:9/v1", "x", private_upstream=False)
    with pytest.raises(LoadFailed, match="cannot be reached"):
        Driver(RemoteOpenai(), asked)


# --- servers that misbehave -----------------------------------------------------------------------

MODELS_ANSWER = b'{"data": [{"id": "m"}]}'


@contextmanager
def misbehaving(answer: bytes) -> Iterator[str]:
    """List one model, then give these bytes to whatever is asked, and hang up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                asked = connection.recv(1 << 20)
                connection.sendall(page(MODELS_ANSWER) if asked.startswith(b"GET") else answer)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def page(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
    return head.encode() + body


def event(**fields: Any) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


PIECE = event(choices=[{"index": 0, "delta": {"content": "hi"}}])
CASES: dict[str, tuple[bytes, str, str]] = {
    "no [DONE]": (page(PIECE), "engine_failed", "without [DONE]"),
    "cut": (page(PIECE)[:-8], "engine_failed", "broke off"),
    "error event": (page(PIECE + event(error={"message": "boom"})), "engine_failed", "boom"),
    "no JSON": (page(b"data: {nonsense\n\n"), "engine_failed", "no valid answer"),
    "wrong types": (page(event(choices=[{"index": "a"}])), "engine_failed", "no valid answer"),
    "another choice": (
        page(event(choices=[{"index": 7, "delta": {"content": "hi"}}])),
        "engine_failed",
        "no choice 7 of 1",
    ),
    "negative usage": (
        page(PIECE + event(choices=[], usage={"completion_tokens": -5})),
        "engine_failed",
        "no valid answer",
    ),
    "too deep": (
        page(b'data: {"choices": [], "x": ' + b"[" * 100_000 + b"\n\n"),
        "engine_failed",
        "no valid answer",
    ),
    "never ends": (page(PIECE * 200), "engine_failed", "does not end at the 12 tokens"),
    "compressed": (
        page(gzip.compress(PIECE + b"data: [DONE]\n\n"), headers="Content-Encoding: gzip\r\n"),
        "engine_failed",
        "it is compressed",
    ),
    "busy": (
        page(b"{}", "429 Slow", "Retry-After: 7\r\n"),
        "service_unavailable",
        "over its limit",
    ),
    "quotes the key": (
        page(json.dumps({"error": {"message": f"bad key {KEY}"}}).encode(), "401 No"),
        "model_load_failed",
        "renew its key",
    ),
    "elsewhere": (page(b"", "307 There", "Location: http://169.254.169.254/\r\n"), "engine_failed", "307"),
    "broken": (page(b"<html>", "500 Oh"), "engine_failed", "500"),
    "refuses": (
        page(json.dumps({"error": {"message": "no top_k", "param": "top_k"}}).encode(), "400 Bad"),
        "invalid_request",
        "no top_k",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_it_says_what_the_upstream_did(name: str) -> None:
    answer, code, words = CASES[name]
    with misbehaving(answer) as base_url:
        driver = Driver(RemoteOpenai(), spec(base_url, "m", api_key=KEY))
        try:
            failure = driver.failure(generate(wire.ChatPrompt(messages=HELLO)))
        finally:
            driver.engine.close()
    assert (failure.code, words in failure.message) == (code, True), failure
    assert KEY not in failure.message
    assert failure.retry_after_s == (7.0 if name == "busy" else None)


def test_a_silent_list_of_models_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_client, "LIST_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asked = spec(f"http://127.0.0.1:{silent.getsockname()[1]}/v1", "m")
        with pytest.raises(LoadFailed, match="far: the upstream server does not answer in time"):
            Driver(RemoteOpenai(), asked)


@contextmanager
def halting(*pieces: bytes) -> Iterator[tuple[str, threading.Event]]:
    """List one model; give these pieces of an answer, one for each time that the event is set."""
    listener, go_on = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                if connection.recv(1 << 20).startswith(b"GET"):
                    connection.sendall(page(MODELS_ANSWER))
                    continue
                for piece in pieces:
                    connection.sendall(piece)
                    go_on.wait(60)
                    go_on.clear()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1", go_on
    finally:
        go_on.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("said", [b"", HEAD], ids=["nothing", "headers"])
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("llm", generate(wire.ChatPrompt(messages=HELLO))),
        ("embed", wire.Embed(inputs=["a"])),
        ("asr", wire.Transcribe(audio=b"RIFF")),
    ],
)
def test_a_server_that_does_not_begin_its_answer_is_given_up(
    kind: str, body: wire.Body, said: bytes
) -> None:
    with halting(said) as (base_url, _):
        driver = Driver(RemoteOpenai(), spec(base_url, "m", kind, first_byte_timeout_s=0.2))
        try:
            failure = driver.failure(body)
        finally:
            driver.engine.close()
    assert (failure.code, "in time" in failure.message) == ("engine_failed", True), failure


def test_a_slow_server_that_has_begun_is_not_cut() -> None:
    """The limit passes many times between the comment and the answer."""
    limit_s = 0.5
    rest = PIECE + b"data: [DONE]\n\n"
    with halting(HEAD + b": working\n\n", rest) as (base_url, go_on):
        driver = Driver(RemoteOpenai(), spec(base_url, "m", first_byte_timeout_s=limit_s))
        try:
            answer = driver.start(generate(wire.ChatPrompt(messages=HELLO)))
            assert not go_on.wait(4 * limit_s)
            go_on.set()
            done = answer.wait()
        finally:
            driver.engine.close()
    assert isinstance(done, wire.Done), done
    assert text_of(answer) == "hi"


@pytest.mark.parametrize(
    ("first_byte_s", "audio_bytes", "limit_s"),
    [(60.0, 0, 60.0), (60.0, 1_600_000, 160.0), (60.0, 25_000_000, 300.0), (900.0, 1, 900.0)],
)
def test_a_recording_takes_as_long_as_it_plays(
    first_byte_s: float, audio_bytes: int, limit_s: float
) -> None:
    patience = upstream_client.Patience(first_byte_s=first_byte_s)
    assert patience.hearing_s(audio_bytes) == limit_s


def test_a_list_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "MODELS_ANSWER", b"null")
    with misbehaving(b"") as base_url, pytest.raises(LoadFailed, match="no valid answer"):
        Driver(RemoteOpenai(), spec(base_url, "m"))


def test_a_closed_engine_ends_its_requests(opened: Any, upstream: servers.Hub) -> None:
    driver = Driver(RemoteOpenai(), spec(f"{upstream.url}/v1", "slow", api_key=upstream.key))
    answer = driver.start(generate(wire.ChatPrompt(messages=HELLO), max_tokens=4000))
    answer.wait_for(lambda: len(answer.frames) > 1)
    driver.engine.close()
    last = answer.wait()
    assert isinstance(last, wire.Failure)
    assert "unloaded" in last.message


@pytest.mark.models
def test_a_hub_serves_it_under_a_name_of_its_own(upstream: servers.Hub) -> None:
    """Through web, node and an engine process, which keeps its network."""
    added = {
        "source": "remote",
        "name": "far",
        "base_url": f"{upstream.url}/v1",
        "upstream_model": "chat",
        "api_key": upstream.key,
    }
    keys = {"default": {"scopes": ["inference", "models:read", "models:write"]}}
    body = {
        "messages": [{"role": "user", "content": "Say hello."}],
        "temperature": 0,
        "max_tokens": 12,
    }
    started = servers.hub(keys=keys, AI_HUB_PRIVATE_UPSTREAMS="allow")
    with started as hub, hub.client() as near, upstream.client() as direct:
        made = near.post(f"{hub.url}/api/v1/models/add", json=added)
        assert (made.status_code, upstream.key in made.text) == (201, False), made.text
        answer = near.post("/chat/completions", json=body | {"model": "far"}).json()
        same = direct.post("/chat/completions", json=body | {"model": "chat"}).json()
        logs = hub.log("node") + hub.log("web")
    assert answer["choices"][0]["message"] == same["choices"][0]["message"]
    assert answer["usage"]["total_tokens"] == same["usage"]["total_tokens"]
    assert upstream.key not in logs
