"""Chat over HTTP, with a node that says what the test wants."""

import httpx

from inference import wire
from tests.inference.api.conftest import Nodes, chat, events, says

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
