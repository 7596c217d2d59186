"""A download through the whole hub: added by API, its worker killed, finished by the next one."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests import servers
from tests.inference import hub_server, tiny_files
from tests.inference.hub_server import COMMIT, Behaviour

FILES = tiny_files.files(vocab_size=2**18)
WEIGHTS = FILES["model.safetensors"]


@pytest.fixture
def models() -> Iterator[Behaviour]:
    with hub_server.serving(Behaviour({"org/tiny": FILES})) as started:
        started.gate = threading.Event()
        yield started


@pytest.fixture
def hub(models: Behaviour) -> Iterator[servers.Hub]:
    keys = {"default": {"scopes": ["models:read", "models:write"]}}
    with servers.hub(keys=keys, AI_HUB_HF_ENDPOINT=models.url) as started:
        servers.start(started, "worker", "run_worker")
        yield started


def test_a_killed_worker_is_replaced_and_resumes(hub: servers.Hub, models: Behaviour) -> None:
    headers = {"x-api-key": hub.key}
    with httpx.Client(base_url=f"{hub.url}/api/v1", headers=headers, timeout=30) as api:
        asked = {"source": "huggingface", "model_id": "org/tiny", "name": "tiny"}
        assert api.post("/models/add", json=asked).status_code == 202
        assert models.half_way.wait(60)
        seen = until(api, lambda row: row["progress"]["done_bytes"] > 0)
        assert (seen["state"], seen["revision"]) == ("downloading", COMMIT)
        assert seen["progress"]["total_bytes"] > len(WEIGHTS)
        hub.processes["worker"].kill()
        hub.processes["worker"].wait()
        assert models.gate
        models.gate.set()
        servers.start(hub, "worker", "run_worker")
        row = until(api, lambda row: row["state"] not in {"queued", "downloading", "inspecting"})
    assert row["state"] == "available", row["state_reason"]
    assert models.ranges[-1].startswith("bytes=")


def until(api: httpx.Client, is_so: Any) -> dict[str, Any]:
    end_s = time.monotonic() + 60
    while True:
        row: dict[str, Any] = api.get("/models/tiny").json()
        if is_so(row):
            return row
        assert time.monotonic() < end_s, row
        time.sleep(0.2)  # management calls of one key are limited
