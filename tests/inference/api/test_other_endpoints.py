"""Completions, embeddings, audio and models over HTTP, with a node that says what a test wants."""

import asyncio
import base64
import struct
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference import wire
from inference.openai import audio
from tests import servers
from tests.inference.api.conftest import Nodes, events, says
from tests.inference.scripted_node import Line

FILE = ("a.wav", b"RIFF", "audio/wav")


async def echoes(line: Line, question: wire.Any) -> None:
    """Say the prompt again, as choice after choice."""
    assert isinstance(question, wire.Submit)
    body = question.body
    assert isinstance(body, wire.Generate)
    prompt = body.prompt
    text = prompt.text if isinstance(prompt, wire.TextPrompt) else str(prompt)
    for index in range(body.n):
        await line.send(wire.Delta(index=index, text=f"{text}{index}", tokens=1))
        await line.send(wire.Delta(index=index, finish_reason="length"))
        await asyncio.sleep(0)
    await line.send(wire.Done(usage=wire.Usage(prompt_tokens=1, completion_tokens=body.n)))


async def test_completions_answer_every_prompt(client: httpx.AsyncClient, node: Nodes) -> None:
    body = {"model": "chat", "prompt": ["a", "b", "c"], "n": 2}
    async with node(echoes) as started:
        answer = await client.post("/completions", json=body)
    choices = answer.json()["choices"]
    assert [(c["index"], c["text"]) for c in choices] == list(
        enumerate(["a0", "a1", "b0", "b1", "c0", "c1"])
    )
    assert answer.json()["usage"]["total_tokens"] == 9
    assert len({question.request_id for question in started.submitted}) == 3


async def test_completions_stream_every_prompt(client: httpx.AsyncClient, node: Nodes) -> None:
    body = {"model": "chat", "prompt": ["a", "b"], "n": 2, "stream": True}
    async with node(echoes):
        answer = await client.post("/completions", json=body)
    *chunks, done = events(answer.text)
    assert done == "[DONE]"
    texts = {0: "", 1: "", 2: "", 3: ""}
    for chunk in chunks:
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    assert texts == {0: "a0", 1: "a1", 2: "b0", 3: "b1"}


async def test_one_failing_prompt_ends_the_others(client: httpx.AsyncClient, node: Nodes) -> None:
    async def fails_for_b(line: Line, question: wire.Any) -> None:
        assert isinstance(question, wire.Submit)
        if question.body == generate("b"):
            await line.send(wire.Failure(code="context_length_exceeded", message="too long"))

    def generate(text: str) -> wire.Generate:
        return wire.Generate(
            prompt=wire.TextPrompt(text=text), sampling=wire.Sampling(max_tokens=16)
        )

    async with node(fails_for_b) as started:
        answer = await client.post("/completions", json={"model": "chat", "prompt": ["a", "b"]})
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "context_length_exceeded"
        for question, line in zip(started.submitted, started.lines[-2:], strict=True):
            if question.body == generate("a"):
                await asyncio.wait_for(line.closed.wait(), 5)


async def test_embeddings(client: httpx.AsyncClient, node: Nodes) -> None:
    vectors = wire.Vectors(rows=2, dimensions=2, data=struct.pack("<4f", 1, 0, 0.5, -1))
    done = wire.Done(usage=wire.Usage(prompt_tokens=4))
    async with node(says(vectors, done)) as started:
        body = {"model": "vectors", "input": ["a", "b"], "dimensions": 2}
        plain = await client.post("/embeddings", json=body)
        packed = await client.post("/embeddings", json=body | {"encoding_format": "base64"})
    assert [e["embedding"] for e in plain.json()["data"]] == [[1.0, 0.0], [0.5, -1.0]]
    assert plain.json()["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    raw = base64.b64decode(packed.json()["data"][1]["embedding"])
    assert struct.unpack("<2f", raw) == (0.5, -1.0)
    assert started.submitted[0].body == wire.Embed(inputs=["a", "b"], dimensions=2)


async def test_token_ids_mean_what_their_name_means(
    client: httpx.AsyncClient, node: Nodes, web: servers.Hub
) -> None:
    """Under the model's own name ids are its own; under OpenAI's they stand for text."""
    vectors = wire.Vectors(rows=1, dimensions=1, data=struct.pack("<f", 1))
    async with node(says(vectors, wire.Done())) as started:
        await client.post("/embeddings", json={"model": "vectors", "input": [0, 1]})
        body = {"model": "text-embedding-3-small", "input": [[0, 1]]}
        absent = await client.post("/embeddings", json=body)
        _write_vocabulary(web.data / "models" / "openai-vocabularies")
        present = await client.post("/embeddings", json=body)
    assert started.submitted[0].body == wire.Embed(inputs=[[0, 1]])
    assert absent.status_code == 400
    assert absent.json()["error"]["param"] == "input"
    assert present.status_code == 200
    assert started.submitted[1].body == wire.Embed(inputs=["hello world"])


def _write_vocabulary(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [base64.b64encode(b"hello") + b" 0", base64.b64encode(b" world") + b" 1"]
    (folder / "cl100k_base.tiktoken").write_bytes(b"\n".join(lines))


SPOKEN = (
    wire.Segment(id=0, start_s=0, end_s=1, text=" Hello"),
    wire.Segment(id=1, start_s=1, end_s=2, text=" world."),
    wire.Done(language="en", duration_s=2.0, usage=wire.Usage(audio_s=2.0)),
)


async def transcribe(client: httpx.AsyncClient, **fields: str) -> httpx.Response:
    form = {"model": "speech", **fields}
    return await client.post("/audio/transcriptions", data=form, files={"file": FILE})


@pytest.mark.parametrize(
    ("shape", "content_type", "text"),
    [
        ("text", "text/plain", "Hello world.\n"),
        ("srt", "text/plain", "1\n00:00:00,000 --> 00:00:01,000\nHello\n\n"),
        ("vtt", "text/vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nHello\n\n"),
        ("json", "application/json", '{"text":"Hello world."'),
        ("verbose_json", "application/json", '{"task":"transcribe","language":"english"'),
    ],
)
async def test_transcripts_in_every_format(
    client: httpx.AsyncClient, node: Nodes, shape: str, content_type: str, text: str
) -> None:
    async with node(says(*SPOKEN)):
        answer = await transcribe(client, response_format=shape)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith(content_type)
    assert answer.text.startswith(text)


async def test_transcripts_stream(client: httpx.AsyncClient, node: Nodes) -> None:
    async with node(says(*SPOKEN)):
        answer = await transcribe(client, stream="true")
    first, second, last, done = events(answer.text)
    assert (first["type"], first["delta"]) == ("transcript.text.delta", "Hello")
    assert second["delta"] == " world."
    assert (last["type"], last["text"]) == ("transcript.text.done", "Hello world.")
    assert done == "[DONE]"


async def test_translations(client: httpx.AsyncClient, node: Nodes) -> None:
    async with node(says(*SPOKEN)) as started:
        answer = await client.post(
            "/audio/translations", data={"model": "speech"}, files={"file": FILE}
        )
    assert answer.json()["text"] == "Hello world."
    assert started.submitted[0].body == wire.Transcribe(
        audio=b"RIFF", task="translate", budget=audio.WINDOW_TOKENS
    )


async def test_models_are_listed_with_their_aliases(client: httpx.AsyncClient) -> None:
    found = (await client.get("/models")).json()
    assert found["object"] == "list"
    by_id = {model["id"]: model for model in found["data"]}
    assert {"chat", "vectors", "speech", "gpt-4o", "org/deep/name"} <= by_id.keys()
    assert by_id["gpt-4o"]["root"] == "chat"
    assert all(isinstance(m["created"], int) and m["object"] == "model" for m in by_id.values())


@pytest.mark.parametrize("path", ["chat", "gpt-4o", "org/deep/name", "org%2Fdeep%2Fname"])
async def test_a_model_is_found_by_name(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(f"/models/{path}")
    assert answer.json()["id"] == path.replace("%2F", "/")


async def test_a_key_sees_its_own_models_only(web: servers.Hub) -> None:
    headers = {"Authorization": f"Bearer {web.keys['one-model']}"}
    async with httpx.AsyncClient(base_url=f"{web.url}/v1", headers=headers) as limited:
        ids = {model["id"] for model in (await limited.get("/models")).json()["data"]}
        assert ids == {"vectors", "text-embedding-3-small"}
        assert (await limited.get("/models/chat")).status_code == 404
        body: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x"}]}
        answer = await limited.post("/chat/completions", json=body)
        assert answer.status_code == 404
        assert answer.json()["error"]["code"] == "model_not_found"
