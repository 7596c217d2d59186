"""An engine or a node that ends under an answer: asked once more while nothing of it was sent."""

from typing import Any

import httpx
import pytest

from inference import wire
from tests import servers
from tests.inference.api.conftest import Nodes, chat, events
from tests.inference.scripted_node import Line, Script

DIED = wire.Failure(code="answer_interrupted", message="the engine of chat ended", may_repeat=True)
BEGUN = wire.Delta(text="lost ", tokens=1, prompt_tokens=7)
SILENT = wire.Delta(tokens=1, prompt_tokens=7)  # it gives no byte of a stream
WHOLE = (
    wire.Delta(text="kept", tokens=1, finish_reason="stop"),
    wire.Done(usage=wire.Usage(prompt_tokens=7, completion_tokens=1)),
)


def ends(times: int, *begun: wire.Any, by: wire.Any | None = DIED) -> Script:
    """End so many answers after they began, by a failure or with the node's connection."""

    async def script(line: Line, question: wire.Any) -> None:
        if isinstance(question, wire.Watch):
            await line.send(wire.Snapshot(at=0.0))
            return
        if len(line.node.submitted) > times:
            await line.send(*WHOLE)
            return
        await line.send(*begun, *([by] if by else []))
        if by is None:
            line.hang_up()

    return script


async def tokens(client: httpx.AsyncClient, web: servers.Hub) -> float:
    """Give how many tokens all answers took."""
    key = {"Authorization": f"Bearer {web.keys['watcher']}"}
    told = await client.get(f"{web.url}/metrics", headers=key)
    assert told.status_code == 200
    lines = told.text.splitlines()
    return sum(float(x.split()[-1]) for x in lines if x.startswith("hub_tokens_total{"))


@pytest.mark.parametrize("by", [DIED, None], ids=["engine", "node"])
async def test_a_whole_answer_is_asked_for_once_more(
    client: httpx.AsyncClient, node: Nodes, web: servers.Hub, by: wire.Any | None
) -> None:
    async with node(ends(1, BEGUN, by=by)) as started:
        before = await tokens(client, web)
        answer = await client.post("/chat/completions", json=chat())
        used = await tokens(client, web) - before
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"] == "kept"
    assert answer.json()["usage"]["total_tokens"] == 8
    assert [submit.repeated for submit in started.submitted] == [False, True]
    assert used == 8, "what came to nothing is not counted"


@pytest.mark.parametrize("by", [DIED, None], ids=["engine", "node"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_second_end_is_told_as_one_to_try_again(
    client: httpx.AsyncClient, node: Nodes, by: wire.Any | None, stream: bool
) -> None:
    async with node(ends(9, SILENT, by=by)) as started:
        answer = await client.post("/chat/completions", json=chat(stream=stream))
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, "answer_interrupted")
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["x-should-retry"] == "true"
    assert len(started.submitted) == 2


async def test_a_stream_that_has_sent_nothing_is_asked_for_once_more(
    client: httpx.AsyncClient, node: Nodes
) -> None:
    async with node(ends(1, SILENT)) as started:
        answer = await client.post("/chat/completions", json=chat(stream=True))
    *chunks, done = events(answer.text)
    assert done == "[DONE]"
    said = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks]
    assert "".join(said) == "kept"
    assert len(started.submitted) == 2


async def test_a_stream_that_has_begun_is_not(client: httpx.AsyncClient, node: Nodes) -> None:
    async with node(ends(1, BEGUN)) as started:
        answer = await client.post("/chat/completions", json=chat(stream=True))
    assert events(answer.text)[-1]["error"]["code"] == "answer_interrupted"
    assert len(started.submitted) == 1


async def test_what_the_node_asked_twice_already_is_not_asked_again(
    client: httpx.AsyncClient, node: Nodes
) -> None:
    told = wire.Failure(code="answer_interrupted", message="the engine of chat ended")
    async with node(ends(1, by=told)) as started:
        answer = await client.post("/chat/completions", json=chat())
    assert answer.status_code == 503
    assert len(started.submitted) == 1


async def test_all_prompts_are_asked_once_more_where_one_ended(
    client: httpx.AsyncClient, node: Nodes
) -> None:
    async def script(line: Line, question: Any) -> None:
        if question.repeated:
            await line.send(*WHOLE)
        elif question.body.prompt.text == "b":
            await line.send(BEGUN, DIED)
        else:
            await line.send(BEGUN)

    body = {"model": "chat", "prompt": ["a", "b"]}
    async with node(script) as started:
        answer = await client.post("/completions", json=body)
    assert [choice["text"] for choice in answer.json()["choices"]] == ["kept", "kept"]
    assert answer.json()["usage"]["total_tokens"] == 16
    assert len(started.submitted) == 4
