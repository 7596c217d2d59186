"""Ask the management API of a real hub, and wait for what its worker does."""

import time
from typing import Any

import httpx

from tests import servers


def call(hub: servers.Hub, method: str, to: str, key: str = "default", /, **body: Any) -> Any:
    options: dict[str, Any] = (
        {"json": body} if method in {"POST", "PATCH", "PUT"} else {"params": body}
    )
    url = f"{hub.url}/api/v1/{to}"
    return httpx.request(method, url, headers={"x-api-key": hub.keys[key]}, timeout=60, **options)


def add(hub: servers.Hub, name: str, /, **fields: Any) -> Any:
    return call(hub, "POST", "models/add", **{"source": "local", "name": name, **fields})


def seen_by_node(hub: servers.Hub, name: str) -> dict[str, Any]:
    status = call(hub, "GET", "status", "watcher").json()
    return next(row for row in status["models"] if row["name"] == name)


def arrived(hub: servers.Hub, name: str) -> dict[str, Any]:
    """Wait until it is available, or will never be."""
    until_s = time.monotonic() + 60
    while True:
        row: dict[str, Any] = call(hub, "GET", f"models/{name}").json()
        if row["state"] not in {"queued", "downloading", "inspecting"}:
            return row
        assert time.monotonic() < until_s, row
        time.sleep(0.05)


def refusal(response: httpx.Response) -> tuple[int, str, str | None]:
    error = response.json()["error"]
    return response.status_code, error["code"], error["param"]


def checked_again(hub: servers.Hub, name: str) -> list[str]:
    """Ask for a check of its files, wait for it, and give what it found."""
    asked = call(hub, "POST", f"models/{name}/verify")
    assert asked.status_code == 202, asked.text
    before, until_s = asked.json()["checked_at"], time.monotonic() + 60
    while (row := call(hub, "GET", f"models/{name}").json())["checked_at"] == before:
        assert time.monotonic() < until_s
        time.sleep(0.05)
    damage: list[str] = row["damage"]
    return damage
