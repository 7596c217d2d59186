"""Who loses a right loses what is open: streams and websockets, of keys and of browsers, everywhere.

Two web processes; the act is told to the first one only. The rule is 2 s; the tests allow for a
machine that is busy, and log what was seen (`--log-cli-level=INFO`).
"""

import asyncio
import datetime as dt
import logging
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin

from accounts import scopes
from hub.sockets import REFUSED
from inference import wire
from tests import servers
from tests.accounts.conftest import PASSWORD
from tests.inference.api.conftest import chat, events
from tests.inference.scripted_node import Line, scripted

log = logging.getLogger(__name__)
LIMIT_S = 10.0  # the rule is 2 s, of a machine that has time
SCOPES = ["inference", "training:read", "status:read"]
MODELS = [{"name": "chat", "kind": "llm", "engine": "fake", "path": "/m/chat"}]
KEYS = {"people": {"scopes": sorted(scopes.SCOPES)}}


@dataclass
class Pair:
    """Two web processes of one hub, the node's address, and a training to look at."""

    hubs: list[servers.Hub]
    node: Path
    job: str
    people: dict[str, str]

    @property
    def first(self) -> str:
        return self.hubs[0].url


@dataclass
class Person:
    name: str
    key: str
    key_id: str
    cookie: str
    token: str


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    node = tmp_path_factory.mktemp("node") / "node.sock"
    with servers.hub(MODELS, {}, KEYS, node_address=f"unix:{node}") as hub:
        argv = [sys.executable, "-m", "tests.hub.seed_job"]
        made = subprocess.run(
            argv, env=hub.env, cwd=servers.ROOT, capture_output=True, text=True, check=True
        )
        people = {"Authorization": f"Bearer {hub.keys['people']}"}
        pair = Pair([hub, servers.another_web(hub)], node, made.stdout, people)
        body = {"name": "blind", "scopes": ["models:read"]}
        httpx.post(f"{pair.first}/api/v1/roles", json=body, headers=people).raise_for_status()
        yield pair


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=60) as opened:
        yield opened


async def _api(
    pair: Pair, client: httpx.AsyncClient, path: str, body: Any, headers: dict[str, str]
) -> Any:
    done = await client.post(f"{pair.first}/api/v1/{path}", json=body, headers=headers)
    assert done.status_code in {200, 201}, done.text
    return done.json()


async def somebody(pair: Pair, client: httpx.AsyncClient) -> Person:
    """Make a person with a key, and let them sign in at a browser."""
    name = f"p-{secrets.token_hex(4)}"
    account = {"username": name, "password": PASSWORD, "role": "trainer"}
    await _api(pair, client, "users", account, pair.people)
    proof = {"username": name, "password": PASSWORD}
    wanted = {**proof, "scopes": ["keys:*", *SCOPES]}
    token = (await _api(pair, client, "auth/token", wanted, {}))["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    soon = (dt.datetime.now(dt.UTC) + dt.timedelta(minutes=10)).isoformat()
    key = {"name": "k", "scopes": SCOPES, "expires_at": soon}
    key = await _api(pair, client, "keys", key, bearer)
    return Person(name, key["key"], key["id"], await _signed_in(pair, proof), token)


async def _signed_in(pair: Pair, proof: dict[str, str]) -> str:
    async with httpx.AsyncClient(base_url=pair.first, timeout=60) as browser:
        await browser.get("/login/")
        fields = {**proof, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        answer = await browser.post("/login/", data=fields, headers={"origin": pair.first})
        assert answer.status_code == 302, answer.text
        return f"sessionid={browser.cookies['sessionid']}"


# --- what is open ---------------------------------------------------------------------------------


class Opened:
    """Streams and websockets of one person, by what each is."""

    def __init__(self, pair: Pair, client: httpx.AsyncClient, stack: AsyncExitStack) -> None:
        self.pair, self.client, self.stack = pair, client, stack
        self.running: dict[str, asyncio.Task[float]] = {}

    async def stream(self, hub: servers.Hub, key: str) -> None:
        asked = self.client.stream(
            "POST",
            f"{hub.url}/v1/chat/completions",
            json=chat(stream=True),
            headers={"x-api-key": key},
        )
        answer = await self.stack.enter_async_context(asked)
        lines = answer.aiter_lines()
        first = await anext(lines)
        assert answer.status_code == 200, first
        self._follow(f"{hub.port} stream", _stream_ends(lines, first))

    async def socket(self, hub: servers.Hub, path: str, headers: dict[str, str]) -> None:
        address = f"ws://127.0.0.1:{hub.port}{path}"
        opened = await self.stack.enter_async_context(
            connect(address, origin=Origin(hub.url), additional_headers=headers)
        )
        how = "key" if "x-api-key" in headers else "browser"
        self._follow(f"{hub.port} {path.split('/')[2]} by {how}", _socket_ends(opened))

    def _follow(self, name: str, ending: Coroutine[Any, Any, float]) -> None:
        self.running[name] = asyncio.create_task(ending)


async def _stream_ends(lines: AsyncIterator[str], first: str) -> float:
    said = [first, *[line async for line in lines]]
    ended_s = time.monotonic()
    assert events("\n".join(said))[-1]["error"]["code"] in {"invalid_api_key", "permission_denied"}
    assert "data: [DONE]" not in said
    return ended_s


async def _socket_ends(socket: ClientConnection) -> float:
    try:
        while True:
            await socket.recv()
    except ConnectionClosed:
        ended_s = time.monotonic()
    assert socket.close_code == REFUSED
    return ended_s


async def everything(opened: Opened, who: Person, kinds: tuple[str, ...]) -> None:
    for hub in opened.pair.hubs:
        await opened.stream(hub, who.key)
        shown = {"key": {"x-api-key": who.key}, "browser": {"Cookie": who.cookie}}
        for path in ("/ws/live/?panels=figures", f"/ws/training/{opened.pair.job}/"):
            for kind in kinds:
                await opened.socket(hub, path, shown[kind])


# --- how a right ends -----------------------------------------------------------------------------

Act = Callable[[Pair, httpx.AsyncClient, Person], Awaitable[httpx.Response]]


async def revoke(pair: Pair, client: httpx.AsyncClient, who: Person) -> httpx.Response:
    headers = {"Authorization": f"Bearer {who.token}"}
    return await client.delete(f"{pair.first}/api/v1/keys/{who.key_id}", headers=headers)


async def demote(pair: Pair, client: httpx.AsyncClient, who: Person) -> httpx.Response:
    return await client.patch(
        f"{pair.first}/api/v1/users/{who.name}", json={"role": "blind"}, headers=pair.people
    )


async def disable(pair: Pair, client: httpx.AsyncClient, who: Person) -> httpx.Response:
    return await client.patch(
        f"{pair.first}/api/v1/users/{who.name}", json={"is_active": False}, headers=pair.people
    )


async def delete(pair: Pair, client: httpx.AsyncClient, who: Person) -> httpx.Response:
    return await client.delete(f"{pair.first}/api/v1/users/{who.name}", headers=pair.people)


async def silent(line: Line, question: wire.Any) -> None:
    """Begin each answer and say nothing more: not even how the node is."""
    if isinstance(question, wire.Submit):
        await line.send(wire.Delta(text="Hi"))


@pytest.mark.parametrize(
    ("act", "kinds"),
    [
        (revoke, ("key",)),
        (demote, ("key", "browser")),
        (disable, ("key", "browser")),
        (delete, ("key", "browser")),
    ],
)
async def test_all_that_is_open_ends_on_every_process(
    pair: Pair, client: httpx.AsyncClient, act: Act, kinds: tuple[str, ...]
) -> None:
    async with scripted(pair.node, silent), AsyncExitStack() as stack:
        opened = Opened(pair, client, stack)
        who = await somebody(pair, client)
        await everything(opened, who, kinds)
        assert len(opened.running) == 2 * (1 + 2 * len(kinds))
        assert not any(task.done() for task in opened.running.values())
        assert (await act(pair, client, who)).status_code == 200
        acted_s = time.monotonic()
        async with asyncio.timeout(60):
            ended = await asyncio.gather(*opened.running.values())
    took = {name: at - acted_s for name, at in zip(opened.running, ended, strict=True)}
    log.info("%s: %s", act.__name__, {name: round(s, 2) for name, s in took.items()})
    assert max(took.values()) < LIMIT_S, took
    pair.node.unlink(missing_ok=True)
