"""OpenAI's own Python client, unchanged, against the hub."""

import struct
from collections.abc import AsyncIterator

import openai
import pytest

from inference import wire
from tests import servers
from tests.inference.api.conftest import Nodes, says
from tests.inference.scripted_node import Line

HELLO = (
    wire.Delta(text="Xin ", tokens=1),
    wire.Delta(text="chào \U0001f600", tokens=2, finish_reason="stop"),
    wire.Done(usage=wire.Usage(prompt_tokens=5, completion_tokens=3)),
)


@pytest.fixture
async def sdk(web: servers.Hub) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{web.url}/v1", api_key=web.key) as client:
        yield client


async def test_chat(sdk: openai.AsyncOpenAI, node: Nodes) -> None:
    async with node(says(*HELLO)):
        answer = await sdk.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "hi"}]
        )
    assert answer.choices[0].message.content == "Xin chào \U0001f600"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 8
    assert answer._request_id


async def test_streamed_chat(sdk: openai.AsyncOpenAI, node: Nodes) -> None:
    async with node(says(*HELLO)):
        stream = await sdk.chat.completions.create(
            model="gpt-4o",
            messages=[{"role": "user", "content": "hi"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "Xin chào \U0001f600"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 8


async def test_the_streaming_helper(sdk: openai.AsyncOpenAI, node: Nodes) -> None:
    async with (
        node(says(*HELLO)),
        sdk.chat.completions.stream(
            model="gpt-4o", messages=[{"role": "user", "content": "hi"}]
        ) as stream,
    ):
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == "Xin chào \U0001f600"


async def test_completions(sdk: openai.AsyncOpenAI, node: Nodes) -> None:
    async with node(says(*HELLO)):
        answer = await sdk.completions.create(model="chat", prompt="hi", max_tokens=3)
        stream = await sdk.completions.create(model="chat", prompt="hi", stream=True)
        text = "".join([chunk.choices[0].text async for chunk in stream])
    assert answer.choices[0].text == text == "Xin chào \U0001f600"


async def test_embeddings(sdk: openai.AsyncOpenAI, node: Nodes) -> None:
    vectors = wire.Vectors(rows=1, dimensions=3, data=struct.pack("<3f", 1, 0.5, -2))
    async with node(says(vectors, wire.Done())):
        answer = await sdk.embeddings.create(model="vectors", input="hi")
    assert answer.data[0].embedding == [1.0, 0.5, -2.0]


async def test_transcriptions(sdk: openai.AsyncOpenAI, node: Nodes) -> None:
    segments = (
        wire.Segment(id=0, start_s=0, end_s=1, text=" Hello", words=[wire.Word(" Hello", 0, 1, 1)]),
        wire.Segment(id=1, start_s=1, end_s=2, text=" you"),
        wire.Done(language="en", duration_s=2),
    )
    file = ("a.wav", b"RIFF")
    async with node(says(*segments)):
        plain = await sdk.audio.transcriptions.create(model="speech", file=file)
        text = await sdk.audio.transcriptions.create(
            model="speech", file=file, response_format="text"
        )
        verbose = await sdk.audio.transcriptions.create(
            model="speech",
            file=file,
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
            language="en",
            temperature=0.2,
        )
        stream = await sdk.audio.transcriptions.create(model="speech", file=file, stream=True)
        events = [event async for event in stream]
    assert plain.text == "Hello you"
    assert text == "Hello you\n"
    assert verbose.words is not None
    assert verbose.segments is not None
    assert (verbose.words[0].word, verbose.segments[1].text) == ("Hello", " you")
    assert [event.type for event in events] == [
        "transcript.text.delta",
        "transcript.text.delta",
        "transcript.text.done",
    ]


async def test_models(sdk: openai.AsyncOpenAI) -> None:
    names = [model.id async for model in await sdk.models.list()]
    assert "gpt-4o" in names
    assert (await sdk.models.retrieve("org/deep/name")).id == "org/deep/name"


async def test_errors_become_its_exceptions(web: servers.Hub, sdk: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError):
        await openai.AsyncOpenAI(base_url=f"{web.url}/v1", api_key="x").models.list()
    with pytest.raises(openai.NotFoundError) as missing:
        await sdk.chat.completions.create(
            model="none", messages=[{"role": "user", "content": "hi"}]
        )
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as unsupported:
        await sdk.embeddings.create(model="chat", input="hi")
    assert unsupported.value.code == "unsupported_model"


async def test_it_tries_again_when_it_is_told_to(sdk: openai.AsyncOpenAI, node: Nodes) -> None:
    async def full_at_first(line: Line, _question: wire.Any) -> None:
        if len(line.node.questions) == 1:
            failure = wire.Failure(code="queue_full", message="full", retry_after_s=0.05)
            await line.send(failure)
        else:
            await line.send(*HELLO)

    async with node(full_at_first) as started:
        answer = await sdk.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "hi"}]
        )
    assert answer.choices[0].message.content
    assert len(started.questions) == 2


async def test_a_failure_in_mid_stream_is_raised(sdk: openai.AsyncOpenAI, node: Nodes) -> None:
    died = wire.Failure(code="engine_failed", message="the engine ended")
    async with node(says(HELLO[0], died)):
        stream = await sdk.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        chunks = aiter(stream)
        assert (await anext(chunks)).choices[0].delta.role == "assistant"
        with pytest.raises(openai.APIError, match="The engine ended"):
            [chunk async for chunk in chunks]
