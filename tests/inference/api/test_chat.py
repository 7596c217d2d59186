"""Chat over HTTP, with a node that says what the test wants."""

import asyncio

import httpx

from inference import wire
from tests.inference.api.conftest import Nodes, chat, events, says
from tests.inference.scripted_node import Line

USAGE = wire.Usage(prompt_tokens=5, completion_tokens=2, cached_tokens=3)
HELLO = (
    wire.Progress(state="queued", position=1),
    wire.Delta(text="Hel", tokens=1),
    wire.Delta(text="lo", tokens=1, finish_reason="stop"),
    wire.Done(usage=USAGE),
)


async def test_it_answers(client: httpx.AsyncClient, node: Nodes) -> None:
    async with node(says(*HELLO)) as started:
        answer = await client.post("/chat/completions", json=chat(model="gpt-4o"))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["object"] == "chat.completion"
    assert body["model"] == "chat"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hello",
                "refusal": None,
                "annotations": [],
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ]
    assert body["usage"]["total_tokens"] == 7
    assert body["usage"]["prompt_tokens_details"]["cached_tokens"] == 3
    question = started.submitted[0]
    assert question.spec.name == "chat"
    assert question.request_id == answer.headers["x-request-id"]


async def test_it_streams(client: httpx.AsyncClient, node: Nodes) -> None:
    async with node(says(*HELLO)):
        answer = await client.post("/chat/completions", json=chat(stream=True))
    assert answer.headers["content-type"].startswith("text/event-stream")
    chunks = events(answer.text)
    assert chunks.pop() == "[DONE]"
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert [d["content"] for d in deltas[1:-1]] == ["Hel", "lo"]
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None, None, None, "stop"]
    assert len({(c["id"], c["created"], c["model"]) for c in chunks}) == 1
    assert not any("usage" in chunk for chunk in chunks)


async def test_it_counts_usage_where_it_is_asked_to(client: httpx.AsyncClient, node: Nodes) -> None:
    body = chat(stream=True, stream_options={"include_usage": True})
    async with node(says(*HELLO)):
        answer = await client.post("/chat/completions", json=body)
    *chunks, last, done = events(answer.text)
    assert done == "[DONE]"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 7


async def test_it_refuses_over_http_what_is_known_early(
    client: httpx.AsyncClient, node: Nodes
) -> None:
    full = wire.Failure(code="queue_full", message="too many wait", retry_after_s=1.5)
    async with node(says(HELLO[0], full)):
        for stream in (False, True):
            answer = await client.post("/chat/completions", json=chat(stream=stream))
            assert answer.status_code == 429
            assert answer.json()["error"]["code"] == "queue_full"
            assert answer.headers["retry-after"] == "2"
            assert answer.headers["retry-after-ms"] == "1500"
            assert answer.headers["x-should-retry"] == "true"


async def test_a_failure_in_mid_stream_is_an_event_without_done(
    client: httpx.AsyncClient, node: Nodes
) -> None:
    died = wire.Failure(code="engine_failed", message="the engine ended")
    async with node(says(HELLO[1], died)):
        answer = await client.post("/chat/completions", json=chat(stream=True))
    assert answer.status_code == 200
    assert "[DONE]" not in answer.text
    assert "event: error" in answer.text
    assert events(answer.text)[-1]["error"] == {
        "message": "The engine ended.",
        "type": "engine_error",
        "param": None,
        "code": "engine_failed",
    }


async def test_a_node_that_dies_in_mid_stream_is_an_error_too(
    client: httpx.AsyncClient, node: Nodes
) -> None:
    async def dies(line: Line, _question: wire.Any) -> None:
        await line.send(HELLO[1])
        line.hang_up()

    async with node(dies):
        answer = await client.post("/chat/completions", json=chat(stream=True))
    assert events(answer.text)[-1]["error"]["code"] == "answer_interrupted"
    assert "[DONE]" not in answer.text


async def test_without_a_node_it_asks_to_come_back(client: httpx.AsyncClient) -> None:
    headers = {"x-hub-deadline-ms": "300"}
    answer = await client.post("/chat/completions", json=chat(stream=True), headers=headers)
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "node_unavailable"
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_long_wait_starts_the_stream_and_says_why(
    client: httpx.AsyncClient, node: Nodes
) -> None:
    seen = asyncio.Event()

    async def loads(line: Line, _question: wire.Any) -> None:
        await line.send(wire.Progress(state="loading", position=2, eta_s=9))
        await seen.wait()
        await line.send(*HELLO[1:])

    async with (
        node(loads),
        client.stream("POST", "/chat/completions", json=chat(stream=True)) as answer,
    ):
        assert answer.status_code == 200
        lines = answer.aiter_lines()
        assert await anext(lines) == ": loading, position 2, about 9 s"
        seen.set()
        rest = "\n".join([line async for line in lines])
    assert events(rest)[-1] == "[DONE]"
    assert events(rest)[0]["choices"][0]["delta"]["role"] == "assistant"


async def test_it_gives_log_probabilities(client: httpx.AsyncClient, node: Nodes) -> None:
    top = [wire.TopLogprob("Hi", -0.1, b"Hi"), wire.TopLogprob("Yo", -2.5, b"Yo")]
    token = wire.TokenLogprob("Hi", -0.1, b"Hi", top)
    messages = (wire.Delta(text="Hi", logprobs=[token], finish_reason="length"), wire.Done())
    async with node(says(*messages)) as started:
        answer = await client.post(
            "/chat/completions", json=chat(logprobs=True, top_logprobs=2, max_tokens=1)
        )
    choice = answer.json()["choices"][0]
    assert choice["finish_reason"] == "length"
    assert choice["logprobs"] == {
        "content": [
            {
                "token": "Hi",
                "logprob": -0.1,
                "bytes": [72, 105],
                "top_logprobs": [
                    {"token": "Hi", "logprob": -0.1, "bytes": [72, 105]},
                    {"token": "Yo", "logprob": -2.5, "bytes": [89, 111]},
                ],
            }
        ],
        "refusal": None,
    }
    body = started.submitted[0].body
    assert isinstance(body, wire.Generate)
    assert (body.logprobs, body.sampling.max_tokens) == (2, 1)


async def test_it_gives_several_choices(client: httpx.AsyncClient, node: Nodes) -> None:
    deltas = [wire.Delta(index=i, text=str(i), finish_reason="stop") for i in (1, 0)]
    async with node(says(*deltas, wire.Done())):
        answer = await client.post("/chat/completions", json=chat(n=2))
    assert [c["message"]["content"] for c in answer.json()["choices"]] == ["0", "1"]
