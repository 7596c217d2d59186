"""A key that is revoked ends what it has running: streams with an error, whole answers with a 401."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from inference import wire
from tests import servers
from tests.inference.api.conftest import Nodes, chat, events, says
from tests.inference.scripted_node import Line, ScriptedNode

FILE = ("a.wav", b"RIFF", "audio/wav")
WHOLE: dict[str, dict[str, Any]] = {
    "/chat/completions": {"json": chat()},
    "/completions": {"json": {"model": "chat", "prompt": ["a", "b"]}},
    "/embeddings": {"json": {"model": "vectors", "input": "a"}},
    "/audio/transcriptions": {"data": {"model": "speech"}, "files": {"file": FILE}},
}


@pytest.fixture
async def keeper(web: servers.Hub) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {web.keys['keeper']}"}
    async with httpx.AsyncClient(base_url=f"{web.url}/api/v1", headers=headers) as opened:
        yield opened


@asynccontextmanager
async def doomed(web: servers.Hub, keeper: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client whose key is revoked once the node has been asked: see `revoke`."""
    made = await keeper.post("/keys", json={"name": "doomed", "scopes": ["inference"]})
    headers = {"Authorization": f"Bearer {made.json()['key']}", "x-test-key": made.json()["id"]}
    base_url = f"{web.url}/v1"
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=60) as client:
        yield client


async def revoke(keeper: httpx.AsyncClient, client: httpx.AsyncClient) -> None:
    done = await keeper.delete(f"/keys/{client.headers['x-test-key']}")
    assert done.json()["state"] == "revoked"


async def all_ended(started: ScriptedNode) -> None:
    """The node is told: the connection of every question is closed."""
    asked = started.lines
    assert asked
    await asyncio.gather(*(line.closed.wait() for line in asked))


async def test_a_stream_ends_with_an_error(
    web: servers.Hub, keeper: httpx.AsyncClient, node: Nodes
) -> None:
    async with (
        node(says(wire.Delta(text="Hi"))) as started,
        doomed(web, keeper) as client,
        client.stream("POST", "/chat/completions", json=chat(stream=True)) as answer,
    ):
        lines = answer.aiter_lines()
        said = [await anext(lines)]
        await revoke(keeper, client)
        said += [line async for line in lines]
        async with asyncio.timeout(30):
            await all_ended(started)
    *_, last = events("\n".join(said))
    assert last["error"]["code"] == "invalid_api_key"
    assert "revoked" in last["error"]["message"]
    assert "data: [DONE]" not in said


@pytest.mark.parametrize("path", WHOLE)
async def test_a_whole_answer_is_refused(
    web: servers.Hub, keeper: httpx.AsyncClient, node: Nodes, path: str
) -> None:
    asked = asyncio.Event()

    async def silent(_line: Line, _question: wire.Any) -> None:
        asked.set()

    async with node(silent) as started, doomed(web, keeper) as client:
        answering = asyncio.create_task(client.post(path, **WHOLE[path]))
        async with asyncio.timeout(30):
            await asked.wait()
            await revoke(keeper, client)
            answer = await answering
            await all_ended(started)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


async def test_what_keeps_its_rights_goes_on(
    web: servers.Hub, keeper: httpx.AsyncClient, client: httpx.AsyncClient, node: Nodes
) -> None:
    """Another key's end, which makes everybody's rights be read again, ends nothing else."""
    async with (
        node(says(wire.Delta(text="Hi"))) as started,
        doomed(web, keeper) as other,
        asyncio.timeout(30),
        client.stream("POST", "/chat/completions", json=chat(stream=True)) as kept,
        other.stream("POST", "/chat/completions", json=chat(stream=True)) as ended,
    ):
        await revoke(keeper, other)
        await ended.aread()
        await started.lines[1].closed.wait()
        await started.lines[0].send(wire.Delta(text="!", finish_reason="stop"), wire.Done())
        await kept.aread()
    assert events(kept.text)[-1] == "[DONE]"
    assert "error" in events(ended.text)[-1]
