"""Every way that a job can take, through the API, with real processes: other methods, and other ends."""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests import servers
from tests.training import job_hubs
from tests.training.jobs import chats, tiny_base
from training import contract

DISK_MIB = 700
LONG = {"n_epochs": 200, "batch_size": 1}
MB = 2**20


@pytest.fixture(scope="module", name="hub")
def _hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Hub]:
    """Its data folder is a small file system of its own, where one can be mounted."""
    place, before = tmp_path_factory.mktemp("disk"), tempfile.tempdir
    base = tiny_base(tmp_path_factory.mktemp("base"))
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(place)]
    is_mounted = not subprocess.run(command, capture_output=True, check=False).returncode
    tempfile.tempdir = str(place)
    try:
        with job_hubs.training_hub(base) as hub:
            yield hub
    finally:
        tempfile.tempdir = before
        if is_mounted:
            subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture(scope="module", name="client")
def _client(hub: servers.Hub) -> openai.OpenAI:
    return job_hubs.client_of(hub)


@pytest.fixture(scope="module", name="api")
def _api(hub: servers.Hub) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {hub.key}"}
    with httpx.Client(base_url=f"{hub.url}/api/v1", headers=headers, timeout=60) as api:
        made = api.post("/datasets", json={"name": "chats", "text": lines(chats(12))})
        made.raise_for_status()
        end_s = time.monotonic() + job_hubs.WAIT_S
        while api.get(f"/datasets/{made.json()['id']}").json()["latest"]["state"] != "ready":
            assert time.monotonic() < end_s
            time.sleep(0.1)
        yield api


@pytest.fixture
def small_disk(hub: servers.Hub) -> Path:
    if shutil.disk_usage(hub.data).total > DISK_MIB * MB:
        pytest.skip("a small file system can be mounted by root only")
    return Path(hub.data)


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def pairs(count: int = 12) -> list[dict[str, Any]]:
    return [
        {"prompt": f"say {at}", "chosen": f"the fox {at}", "rejected": f"a dog {at}"}
        for at in range(count)
    ]


def test_dpo_learns_from_pairs(hub: servers.Hub, client: openai.OpenAI) -> None:
    method: Any = {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 2, "beta": 0.2}}}
    file = job_hubs.upload(client, pairs())
    job = job_hubs.submit(client, training_file=file, method=method)
    done = job_hubs.until(client, job.id, "succeeded")
    assert (done.method.type, done.method.dpo.hyperparameters.beta) == ("dpo", 0.2)
    events = client.fine_tuning.jobs.list_events(job.id, limit=100).data
    figures: Any = next(one.data for one in events if one.type == "metrics")
    assert "rewards_margin" in figures


def test_full_tuning_makes_a_model(hub: servers.Hub, api: httpx.Client) -> None:
    wanted = {"base_model": "base", "dataset": "chats", "training_type": "full"}
    made = api.post("/training/start", json=wanted | {"training_config": {"epochs": 1}})
    assert made.status_code == 202, made.text
    client = job_hubs.client_of(hub)
    name = job_hubs.until(client, made.json()["id"], "succeeded").fine_tuned_model
    talk: Any = [{"role": "user", "content": "say 3"}]
    assert client.chat.completions.create(model=name, messages=talk, max_tokens=4).choices


def test_a_draft_is_planned_and_waits(api: httpx.Client) -> None:
    wanted: dict[str, Any] = {"base_model": "base", "dataset": "chats", "training_type": "lora"}
    plan = api.post("/training/plan", json=wanted)
    assert plan.status_code == 200, plan.text
    told = plan.json()
    assert told["fits"]
    assert told["verdict"] in {"fits", "fits_after_unloading"}
    assert told["memory"]["needed_bytes"] == sum(told["memory"]["parts"].values())
    assert told["steps"] > 0
    assert told["recipe"].keys() >= told["reasons"].keys() - {"gradient_checkpointing"}
    draft = api.post("/training/start", json=wanted | {"draft": True}).json()
    assert draft["state"] == "draft"
    own = api.get(f"/training/jobs/{draft['id']}/plan").json()
    assert (own["steps"], own["seed"]) == (told["steps"], draft["seed"])
    assert api.post(f"/training/jobs/{draft['id']}/submit").json()["state"] != "draft"
    assert api.post(f"/training/jobs/{draft['id']}/submit").status_code == 409
    assert api.post(f"/training/jobs/{draft['id']}/cancel").json()["state"] == "cancelled"


def test_a_running_job_is_cancelled(hub: servers.Hub, client: openai.OpenAI) -> None:
    job = job_hubs.submit(client, hyperparameters=LONG)
    job_hubs.after_step(hub, job.id, 3)
    client.fine_tuning.jobs.cancel(job.id)
    done = job_hubs.until(client, job.id, "cancelled")
    assert done.fine_tuned_model is None
    job_hubs.gone(job.id)


# --- refused before any time is spent -------------------------------------------------------------

MASKED = [
    {"messages": [*row["messages"][:1], row["messages"][1] | {"weight": 0}]} for row in chats(12)
]


@pytest.mark.parametrize(
    ("rows", "more", "words"),
    [
        (MASKED, {}, "weight 1"),
        ([{"colour": "red", "size": at} for at in range(12)], {}, "format"),
        (chats(3), {}, "rows"),
        (pairs(), {}, "preference"),
        (chats(13), {"method": {"type": "dpo"}}, "chosen and a rejected"),
    ],
    ids=["all masked", "wrong format", "too few", "pairs without dpo", "dpo without pairs"],
)
def test_bad_data_is_told_before_a_process_starts(
    hub: servers.Hub,
    client: openai.OpenAI,
    rows: list[dict[str, Any]],
    more: dict[str, Any],
    words: str,
) -> None:
    file = job_hubs.upload(client, rows)
    assert words in complaint(hub, client, training_file=file, **more)


def complaint(hub: servers.Hub, client: openai.OpenAI, **wanted: Any) -> str:
    """Data that was checked before is refused at once; other data when its check has ended."""
    try:
        job = job_hubs.submit(client, **wanted)
    except openai.BadRequestError as refused:
        return str(refused)
    failed = job_hubs.until(client, job.id, "failed")
    assert not (job_hubs.folder(hub, job.id) / contract.JOB).exists()
    return str(failed.error.message)


@pytest.mark.parametrize(
    ("wrong", "status", "words"),
    [
        ({"base_model": "none"}, 404, "none"),
        ({"training_type": "lora", "training_config": {"rnak": 8}}, 400, "did you mean rank"),
        ({"training_config": {"epochs": "many"}}, 400, "epochs"),
        ({"colour": 1}, 400, "colour"),
    ],
    ids=["base", "unknown", "value", "parameter"],
)
def test_bad_wishes_are_refused_at_once(
    api: httpx.Client, wrong: dict[str, Any], status: int, words: str
) -> None:
    wanted = {"base_model": "base", "dataset": "chats", "training_type": "full"}
    refused = api.post("/training/start", json=wanted | wrong)
    assert refused.status_code == status, refused.text
    assert words in refused.text


def test_a_small_disk_is_told_at_once(api: httpx.Client, small_disk: Path) -> None:
    wanted = {"base_model": "base", "dataset": "chats", "training_type": "lora"}
    config = {"rank": 1024, "keep_checkpoints": 1000}
    refused = api.post("/training/start", json=wanted | {"training_config": config})
    assert refused.status_code == 507, refused.text
    assert "keep_checkpoints" in refused.text
