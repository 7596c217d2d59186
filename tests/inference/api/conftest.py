"""One web process for all tests here; the node behind it is each test's own script."""

import json
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from accounts import scopes
from inference import wire
from tests import servers
from tests.inference.scripted_node import Line, Script, ScriptedNode, scripted

MODELS = [
    {"name": "chat", "kind": "llm", "engine": "fake", "path": "/m/chat"},
    {"name": "vectors", "kind": "embed", "engine": "fake", "path": "/m/vectors"},
    {"name": "speech", "kind": "asr", "engine": "fake", "path": "/m/speech"},
    {"name": "org/deep/name", "kind": "llm", "engine": "fake", "path": "/m/deep"},
]
ALIASES = {"gpt-4o": "chat", "gpt-4": "chat", "text-embedding-3-small": "vectors"}
DEVELOPERS = sorted(scopes.ROLES["developer"])
KEYS = {
    "default": {},
    "reader": {"scopes": ["models:read"]},
    "one-model": {"models": ["vectors"]},
    "watcher": {"scopes": ["models:read", "inference", "status:read"]},
    "keeper": {"scopes": ["inference", "keys:manage"]},
    "people": {"scopes": [*DEVELOPERS, "users:manage"]},
    "operator": {"scopes": ["models:read", "models:manage", "status:read"]},
    "overseer": {"scopes": ["status:read", "admin:teams"]},
    "one-model-operator": {
        "scopes": ["models:read", "models:manage", "status:read"],
        "models": ["text-embedding-3-small"],
    },
}
Nodes = Callable[[Script], AbstractAsyncContextManager[ScriptedNode]]


@pytest.fixture(scope="session")
def node_socket() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="node-") as folder:
        yield Path(folder) / "node.sock"


@pytest.fixture(scope="session")
def web(node_socket: Path) -> Iterator[servers.Hub]:
    """A web process whose node is not there until a test starts one."""
    address = f"unix:{node_socket}"
    with servers.hub(MODELS, ALIASES, KEYS, node_address=address) as hub:
        yield hub


@pytest.fixture
def node(node_socket: Path) -> Nodes:
    @asynccontextmanager
    async def start(script: Script) -> AsyncIterator[ScriptedNode]:
        async with scripted(node_socket, script) as started:
            yield started
        node_socket.unlink(missing_ok=True)  # noqa: ASYNC240 (a socket in memory)

    return start


@pytest.fixture
async def client(web: servers.Hub) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {web.key}"}
    async with httpx.AsyncClient(base_url=f"{web.url}/v1", headers=headers, timeout=30) as opened:
        yield opened


def says(*messages: wire.Any) -> Script:
    """Answer every question with these messages."""

    async def script(line: Line, _question: wire.Any) -> None:
        await line.send(*messages)

    return script


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "chat", "messages": [{"role": "user", "content": "hi"}], **fields}


def events(text: str) -> list[Any]:
    """Read the data of a stream; comments are left out, [DONE] stays a string."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data:")]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]
