"""Access tokens of both kinds, and keys of who leaves a team: their streams end with their right."""

import asyncio
import datetime as dt
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from inference import wire
from tests import servers
from tests.inference.api.conftest import Nodes, chat, events, says
from tests.inference.api.test_rights_end import all_ended

ACTS_WITHIN_S = 2.0  # Source: the project's rules of trust
PASSWORD = "a long enough pass phrase 7"
SCOPES = {"scopes": ["inference:chat", "status:read"]}
End = Callable[[], Awaitable[httpx.Response]]


class Door:
    """The hub's own API with a key of somebody who manages people."""

    def __init__(self, web: servers.Hub, client: httpx.AsyncClient) -> None:
        self.web, self.client = web, client

    async def api(self, path: str, body: dict[str, Any], bearer: str = "") -> Any:
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        done = await self.client.post(f"/api/v1/{path}", json=body, headers=headers)
        assert done.status_code in {200, 201, 204}, done.text
        return done.json() if done.content else {}

    def remove(self, path: str) -> End:
        key = self.web.keys["people"]
        headers = {"Authorization": f"Bearer {key}"}
        return lambda: self.client.delete(f"/api/v1/{path}", headers=headers)


async def a_sign_in(door: Door) -> tuple[str, End]:
    """Give the token of a program that signed in with a key, and how it signs out."""
    found = await door.api("auth/token", SCOPES, door.web.keys["watcher"])
    body = {"refresh_token": found["refresh_token"]}
    return found["access_token"], lambda: door.client.post("/api/v1/auth/revoke", json=body)


async def an_application(door: Door) -> tuple[str, End]:
    """Give the token of an application that acts by itself, and how it is revoked."""
    command = [sys.executable, "-m", "tests.inference.api.seed_app"]
    made = await asyncio.to_thread(
        subprocess.run, command, env=door.web.env, cwd=servers.ROOT, capture_output=True, check=True
    )
    app = json.loads(made.stdout)
    asked = {"grant_type": "client_credentials", "scope": "inference:chat status:read", **app}
    found = await door.client.post("/oauth/token/", data=asked)
    assert found.status_code == 200, found.text
    token = found.json()["access_token"]
    return token, lambda: door.client.post("/oauth/revoke/", data={"token": token, **app})


async def a_member(door: Door) -> tuple[str, End]:
    """Give the key of a member of a team, and how that one leaves it."""
    people = door.web.keys["people"]
    name = f"lab-{secrets.token_hex(4)}"
    await door.api("teams", {"name": name}, people)
    await door.api("users", {"username": name, "password": PASSWORD, "team": name}, people)
    signed = await door.api(
        "auth/token",
        {"username": name, "password": PASSWORD, "scopes": ["keys:*", "inference", "status:read"]},
    )
    soon = (dt.datetime.now(dt.UTC) + dt.timedelta(minutes=10)).isoformat()
    wanted = {"name": "k", "scopes": ["inference", "status:read"], "team": name}
    made = await door.api("keys", wanted | {"expires_at": soon}, signed["access_token"])
    return made["key"], door.remove(f"teams/{name}/members/{name}")


CREDENTIALS = pytest.mark.parametrize("credential", [a_sign_in, an_application, a_member])


@CREDENTIALS
async def test_a_running_stream_ends_with_its_right(
    web: servers.Hub, node: Nodes, credential: Callable[[Door], Awaitable[tuple[str, End]]]
) -> None:
    async with (
        httpx.AsyncClient(base_url=web.url, timeout=60) as client,
        node(says(wire.Delta(text="Hi"))) as started,
    ):
        token, end = await credential(Door(web, client))
        headers = {"Authorization": f"Bearer {token}"}
        asked = chat(stream=True)
        async with client.stream("POST", "/v1/chat/completions", json=asked, headers=headers) as it:
            lines = it.aiter_lines()
            said = [await anext(lines)]
            assert it.status_code == 200, said
            assert (await end()).status_code in {200, 204}
            async with asyncio.timeout(30):
                said += [line async for line in lines]
                await all_ended(started)
        again = await client.post("/v1/chat/completions", json=chat(), headers=headers)
    assert events("\n".join(said))[-1]["error"]["code"] == "invalid_api_key"
    assert "data: [DONE]" not in said
    assert again.status_code == 401


@pytest.fixture(scope="module")
def twin(web: servers.Hub) -> servers.Hub:
    return servers.another_web(web)


@CREDENTIALS
async def test_what_ends_in_one_process_is_refused_by_the_other_within_2_s(
    web: servers.Hub, twin: servers.Hub, credential: Callable[[Door], Awaitable[tuple[str, End]]]
) -> None:
    async with httpx.AsyncClient(base_url=web.url, timeout=60) as client:
        token, end = await credential(Door(web, client))
        asked, headers = f"{twin.url}/api/v1/me", {"Authorization": f"Bearer {token}"}
        assert (await client.get(asked, headers=headers)).status_code == 200  # and remembered there
        assert (await end()).status_code in {200, 204}
        until_s = time.monotonic() + ACTS_WITHIN_S
        while (answer := await client.get(asked, headers=headers)).status_code == 200:
            assert time.monotonic() < until_s, "the other process still lets it in"
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
