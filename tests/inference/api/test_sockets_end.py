"""Websockets of access tokens, and of who leaves a team, end with their right.

They have a hub of their own: its watcher goes on asking the node for a while after the last view.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.typing import Origin

from hub.sockets import REFUSED
from tests import servers
from tests.inference.api.conftest import ALIASES, KEYS, MODELS
from tests.inference.api.test_tokens_end import CREDENTIALS, Door, End


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Hub]:
    nobody: Path = tmp_path_factory.mktemp("node") / "nobody.sock"
    with servers.hub(MODELS, ALIASES, KEYS, node_address=f"unix:{nobody}") as hub:
        yield hub


@CREDENTIALS
async def test_an_open_websocket_ends_with_its_right(
    alone: servers.Hub, credential: Callable[[Door], Awaitable[tuple[str, End]]]
) -> None:
    address = f"ws://127.0.0.1:{alone.port}/ws/live/?panels=figures"
    async with httpx.AsyncClient(base_url=alone.url, timeout=60) as client:
        token, end = await credential(Door(alone, client))
        headers = {"Authorization": f"Bearer {token}"}
        async with connect(address, origin=Origin(alone.url), additional_headers=headers) as socket:
            assert (await end()).status_code in {200, 204}
            async with asyncio.timeout(30):
                with pytest.raises(ConnectionClosedError):
                    [_ async for _ in socket]
            assert socket.close_code == REFUSED
        with pytest.raises(InvalidStatus):
            await connect(address, origin=Origin(alone.url), additional_headers=headers)
