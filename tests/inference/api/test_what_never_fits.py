"""A model that cannot fit is refused with figures and with who would have to go: at once, if for ever."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests import servers

MB = 10**6
KEYS: dict[str, dict[str, Any]] = {
    "default": {},
    "operator": {"scopes": ["models:read", "models:load"]},
}


def fake(name: str, size: int, **more: Any) -> dict[str, Any]:
    settings = {"options": {"memory_bytes": size}, **more}
    return {"name": name, "kind": "llm", "engine": "fake", "path": "/m", "settings": settings}


@pytest.fixture(scope="module")
def hub() -> Iterator[servers.Hub]:
    models = [
        fake("rock", 400 * MB, pinned=True),
        fake("idle", 10 * MB),
        fake("beside", 300 * MB),
        fake("giant", 2_000 * MB),
    ]
    with servers.hub(models, keys=KEYS, AI_HUB_MEMORY_LIMIT="600M") as started:
        with started.client() as client:
            for name in ("rock", "idle"):
                assert asked(client, name).status_code == 200
        yield started


@pytest.fixture(scope="module")
def busy() -> Iterator[servers.Hub]:
    options = {"memory_bytes": 300 * MB, "tokens_per_s": 20}
    models = [fake("large", 480 * MB), fake("chatty", 0, options=options)]
    with servers.hub(models, AI_HUB_MEMORY_LIMIT="600M") as started:
        yield started


def asked(client: httpx.Client, name: str, **more: Any) -> httpx.Response:
    body = {"model": name, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
    return client.post("chat/completions", json=body | more)


def check(error: dict[str, Any], code: str = "insufficient_memory") -> dict[str, Any]:
    assert error["code"] == code
    assert "details" in error, error
    details: dict[str, Any] = error["details"]
    assert details["device"] == "cpu"
    assert details["limit_bytes"] == 600 * MB
    assert 0 < details["free_bytes"] < 300 * MB
    return details


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_pinned_is_named(hub: servers.Hub, stream: bool) -> None:
    with hub.client() as client:
        answer = asked(client, "beside", stream=stream)
    assert answer.status_code == 503, answer.text
    details = check(answer.json()["error"])
    assert details["needed_bytes"] > 300 * MB
    [holder] = details["would_have_to_go"]
    assert (holder["name"], holder["why"]) == ("rock", "pinned")
    assert holder["claim_bytes"] >= 400 * MB
    message = answer.json()["error"]["message"]
    assert message.startswith("Beside does not fit: it needs 3")
    assert message.endswith("are pinned and would have to go: rock.")


def test_what_no_unloading_helps_says_so(hub: servers.Hub) -> None:
    load = f"{hub.url}/api/v1/models/giant/load"
    with hub.client() as client:
        answers = [
            asked(client, "giant"),
            client.post(load, json={}, headers={"authorization": f"Bearer {hub.keys['operator']}"}),
        ]
    for answer in answers:
        assert answer.status_code == 503, answer.text
        details = check(answer.json()["error"])
        assert details["needed_bytes"] > 2_000 * MB
        assert details["would_have_to_go"] == []
        assert "the limit is 600 MB: nothing that is unloaded" in answer.json()["error"]["message"]


async def test_who_is_busy_is_named_when_the_wait_ends(busy: servers.Hub) -> None:
    """The other one is not waited for longer than the client says."""
    headers = {"Authorization": f"Bearer {busy.key}"}
    async with httpx.AsyncClient(base_url=f"{busy.url}/v1", headers=headers, timeout=60) as client:
        body = {"model": "chatty", "messages": [{"role": "user", "content": "x"}], "stream": True}
        body["max_tokens"] = 4_000
        async with client.stream("POST", "/chat/completions", json=body) as talking:
            assert talking.status_code == 200
            lines = talking.aiter_lines()  # while it is held the answer goes on
            await anext(lines)
            answer = await client.post(
                "/chat/completions",
                json={"model": "large", "messages": body["messages"], "max_tokens": 1},
                headers={"x-hub-deadline-ms": "1500"},
            )
    assert answer.status_code == 503, answer.text
    details = check(answer.json()["error"], "model_loading_timeout")
    [holder] = details["would_have_to_go"]
    assert (holder["name"], holder["why"]) == ("chatty", "busy")
