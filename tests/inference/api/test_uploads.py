"""`/api/v1/uploads`: parts in any order, over breaks and restarts, nothing but model files."""

import datetime as dt
import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from inference.uploads import KEPT, PART_BYTES
from tests import servers
from tests.inference import tiny_files

MODEL = tiny_files.files(vocab_size=PART_BYTES // tiny_files.WORD_BYTES)
WEIGHTS, CONFIG, TOKENIZER = MODEL.values()
FILES = [{"path": name, "size_bytes": len(content)} for name, content in MODEL.items()]
PARTS = {
    (0, 0): WEIGHTS[:PART_BYTES],
    (0, 1): WEIGHTS[PART_BYTES:],
    (1, 0): CONFIG,
    (2, 0): TOKENIZER,
}


@pytest.fixture(scope="module")
def hub() -> Iterator[servers.Hub]:
    keys = {
        "default": {"scopes": ["models:read", "models:write"]},
        "reader": {"scopes": ["models:read"]},
    }
    with servers.hub(keys=keys) as started:
        servers.start(started, "worker", "run_worker")
        yield started


@pytest.fixture
def api(hub: servers.Hub) -> Iterator[httpx.Client]:
    headers = {"x-api-key": hub.key}
    with httpx.Client(base_url=f"{hub.url}/api/v1", headers=headers, timeout=60) as client:
        yield client


def begin(api: httpx.Client, name: str, files: Any = FILES, **fields: Any) -> str:
    answer = api.post("/uploads", json={"name": name, "files": files, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def put(api: httpx.Client, key: str, file: int, number: int, data: bytes) -> httpx.Response:
    headers = {
        "x-part-sha256": hashlib.sha256(data).hexdigest(),
        "content-type": "application/octet-stream",
    }
    return api.put(f"/uploads/{key}/{file}/{number}", content=data, headers=headers)


def arrived(api: httpx.Client, name: str) -> dict[str, Any]:
    until_s = time.monotonic() + 60
    while True:
        row: dict[str, Any] = api.get(f"/models/{name}").json()
        if row["state"] in {"available", "failed"}:
            return row
        assert time.monotonic() < until_s, row
        time.sleep(0.05)


def test_it_takes_parts_in_any_order_over_a_restart(hub: servers.Hub, api: httpx.Client) -> None:
    digests = [hashlib.sha256(content).hexdigest() for content in MODEL.values()]
    files = [{**file, "sha256": digest} for file, digest in zip(FILES, digests, strict=True)]
    key = begin(api, "sent", files)
    assert put(api, key, 0, 1, PARTS[0, 1]).status_code == 204
    assert put(api, key, 0, 1, PARTS[0, 1]).status_code == 204, "a part may come twice"
    early = api.post(f"/uploads/{key}/complete")
    assert (early.status_code, early.json()["error"]["code"]) == (409, "conflict")
    hub.processes["web"].kill()
    hub.processes["web"].wait()
    servers.start(hub, "web", "serve_web")
    servers._wait_ready(hub)
    assert api.get(f"/uploads/{key}").json()["missing"] == [[0], [0], [0]]
    for place in ((1, 0), (0, 0), (2, 0)):
        assert put(api, key, *place, PARTS[place]).status_code == 204
    assert api.get("/models/sent").json()["state"] == "uploading"
    assert api.post(f"/uploads/{key}/complete").status_code == 202
    row = arrived(api, "sent")
    assert (row["state"], row["engine"]) == ("available", "llm_transformers"), row["state_reason"]
    [weights] = (hub.data / "models" / "added").glob("sent-*/model.safetensors")
    assert weights.read_bytes() == WEIGHTS
    assert api.get(f"/uploads/{key}").status_code == 404
    assert api.delete("/models/sent").status_code == 204
    assert not weights.exists()


def test_it_refuses_a_file_that_is_not_what_was_said(api: httpx.Client) -> None:
    key = begin(api, "other", [{"path": "config.json", "size_bytes": 2, "sha256": "0" * 64}])
    assert put(api, key, 0, 0, b"{}").status_code == 204
    api.post(f"/uploads/{key}/complete")
    row = arrived(api, "other")
    assert (row["state"], "SHA-256" in row["state_reason"]) == ("failed", True)
    assert begin(api, "other"), "it may be sent again"


def test_it_checks_each_part(api: httpx.Client) -> None:
    key = begin(api, "parts")
    assert put(api, key, 1, 0, b"x" * (len(CONFIG) + 1)).status_code == 400
    assert put(api, key, 0, 0, b"x" * (PART_BYTES + 1)).status_code == 413
    assert put(api, key, 0, 2, b"x").status_code == 404
    assert put(api, key, 3, 0, b"x").status_code == 404
    headers = {"x-part-sha256": "0" * 64, "content-type": "application/octet-stream"}
    wrong = api.put(f"/uploads/{key}/1/0", content=CONFIG, headers=headers)
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "sha256")
    as_json = {"x-part-sha256": "0" * 64}
    assert api.put(f"/uploads/{key}/1/0", json={}, headers=as_json).status_code == 415
    assert api.get(f"/uploads/{key}").json()["missing"] == [[0, 1], [0], [0]]


@pytest.mark.parametrize(
    "path",
    [
        "../config.json", "/etc/x.json", "a/../../x.json", "a\\b.json", ".ssh/x.json", "run.py",
        "weights.pt", "pytorch_model.bin", "x.json\n", "-rf.json", "model.safetensors/..", "a.zip",
    ],
)  # fmt: skip
def test_it_takes_nothing_but_model_files(api: httpx.Client, path: str) -> None:
    files = [{"path": path, "size_bytes": 1}]
    refused = api.post("/uploads", json={"name": "bad", "files": files})
    assert refused.status_code == 400, refused.text
    assert api.get("/models/bad").status_code == 404


def test_it_says_that_the_disk_is_too_small(api: httpx.Client) -> None:
    files = [{"path": "model.gguf", "size_bytes": 2**43}]
    refused = api.post("/uploads", json={"name": "huge", "files": files})
    assert (refused.status_code, refused.json()["error"]["code"]) == (507, "insufficient_storage")
    assert api.get("/models/huge").status_code == 404


def test_it_can_be_given_up_and_cancelled(hub: servers.Hub, api: httpx.Client) -> None:
    key = begin(api, "given-up")
    put(api, key, 1, 0, CONFIG)
    assert api.delete(f"/uploads/{key}").status_code == 204
    assert api.get("/models/given-up").status_code == 404
    assert not [*(hub.data / "models" / "added").glob("given-up-*")]
    key = begin(api, "stopped")
    assert api.post("/models/stopped/cancel").json()["state"] == "cancelled"
    assert put(api, key, 1, 0, CONFIG).status_code == 409


def test_a_stopped_one_goes_on_with_what_had_come(hub: servers.Hub, api: httpx.Client) -> None:
    key = begin(api, "paused")
    assert put(api, key, 1, 0, CONFIG).status_code == 204
    assert api.post("/models/paused/cancel").json()["state"] == "cancelled"
    resumed = api.post(f"/uploads/{key}/resume").json()
    assert resumed["missing"] == [[0, 1], [], [0]]
    assert api.get("/models/paused").json()["state"] == "uploading"
    for number, part in enumerate((WEIGHTS[:PART_BYTES], WEIGHTS[PART_BYTES:])):
        assert put(api, key, 0, number, part).status_code == 204
    assert put(api, key, 2, 0, TOKENIZER).status_code == 204
    assert api.post(f"/uploads/{key}/complete").status_code == 202
    assert api.post(f"/uploads/{key}/resume").status_code == 404
    assert arrived(api, "paused")["state"] == "available"


def test_it_is_for_those_who_may_write(hub: servers.Hub, api: httpx.Client) -> None:
    headers = {"x-api-key": hub.keys["reader"]}
    refused = httpx.post(f"{hub.url}/api/v1/uploads", json={}, headers=headers)
    assert refused.status_code == 403


def test_abandoned_uploads_are_swept(hub: servers.Hub, api: httpx.Client) -> None:
    key = begin(api, "forgotten")
    put(api, key, 1, 0, CONFIG)
    fresh = begin(api, "fresh")
    age_s = (KEPT + dt.timedelta(minutes=1)).total_seconds()
    program = (
        "import datetime as dt, django; django.setup()\n"
        "from django.utils import timezone\n"
        "from inference.models import Upload\n"
        "from inference import uploads\n"
        f"old = timezone.now() - dt.timedelta(seconds={age_s})\n"
        f"Upload.objects.filter(pk={key!r}).update(touched_at=old)\n"
        "assert uploads.sweep() == 1\n"
    )
    root = Path(servers.ROOT)
    subprocess.run([sys.executable, "-c", program], env=hub.env, cwd=root, check=True)
    assert api.get("/models/forgotten").status_code == 404
    assert not [*(hub.data / "models" / "added").glob("forgotten-*")]
    assert api.get(f"/uploads/{fresh}").status_code == 200
