"""Upstream servers that lead in a circle: the request ends at the second visit, nobody hangs."""

from collections.abc import Iterator

import httpx
import pytest

from tests import servers
from tests.servers import Hub

FAKE = {"name": "real", "kind": "llm", "engine": "fake", "path": "/x", "size_bytes": 1000}
FAKE |= {"settings": {"options": {"reply": "from afar"}}}
KEYS = {"default": {"scopes": ["inference", "models:read", "models:write"]}}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with servers.hub([FAKE], keys=KEYS, AI_HUB_PRIVATE_UPSTREAMS="allow") as started:
        yield started


@pytest.fixture(scope="module")
def other() -> Iterator[Hub]:
    with servers.hub([FAKE], keys=KEYS, AI_HUB_PRIVATE_UPSTREAMS="allow") as started:
        yield started


def lead(hub: Hub, name: str, to: Hub, model: str) -> None:
    """Add a model that another hub, or the same, serves."""
    about = {"source": "remote", "name": name, "base_url": f"{to.url}/v1", "api_key": to.key}
    with hub.client() as client:
        body = about | {"upstream_model": model}
        made = client.post(f"{hub.url}/api/v1/models/add", json=body)
    assert made.status_code == 201, made.text


def ask(hub: Hub, model: str) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    with hub.client() as client:
        return client.post("/chat/completions", json=body, timeout=60)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


def test_one_that_leads_to_itself_ends_at_once(hub: Hub) -> None:
    lead(hub, "mirror", hub, "mirror")
    assert code(ask(hub, "mirror")) == (508, "upstream_loop")


def test_a_circle_of_two_hubs_ends(hub: Hub, other: Hub) -> None:
    lead(hub, "ping", other, "pong")
    lead(other, "pong", hub, "ping")
    assert code(ask(hub, "ping")) == (508, "upstream_loop")
    assert code(ask(other, "pong")) == (508, "upstream_loop")


def test_a_detour_that_ends_at_a_model_is_served(hub: Hub) -> None:
    lead(hub, "detour", hub, "real")
    answer = ask(hub, "detour")
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"]


def test_hubs_one_behind_another_are_bounded(hub: Hub) -> None:
    lead(hub, "near", hub, "real")
    via = ", ".join(f"1.1 hub-{number:012x}" for number in range(5))
    body = {"model": "near", "messages": [{"role": "user", "content": "hi"}]}
    with hub.client() as client:
        deep = client.post("/chat/completions", json=body, headers={"via": via})
        proxied = client.post("/chat/completions", json=body, headers={"via": "1.1 squid, 2 x"})
    assert code(deep) == (508, "upstream_loop")
    assert proxied.status_code == 200, proxied.text
