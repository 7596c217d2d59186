"""Training jobs with the stock client: from a file to a model that answers by name."""

import csv
import io
import json
import sqlite3
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import openai
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from tests import servers
from tests.training import job_hubs
from tests.training.job_hubs import submit, until
from tests.training.jobs import chats, tiny_base


@pytest.fixture(scope="module", name="hub")
def _hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Hub]:
    with job_hubs.training_hub(tiny_base(tmp_path_factory.mktemp("base"))) as hub:
        yield hub


@pytest.fixture(name="client")
def _client(hub: servers.Hub) -> openai.OpenAI:
    return job_hubs.client_of(hub)


KEPT = 3  # checkpoints of a job
WANTED = {"base_model": "base", "dataset": "foxes", "training_type": "lora"}


def said(client: openai.OpenAI, model: str) -> str:
    talk: Any = [{"role": "user", "content": "say 3"}]
    answer = client.chat.completions.create(
        model=model, messages=talk, max_tokens=8, temperature=0, timeout=120
    )
    assert answer.model == model
    return answer.choices[0].message.content or ""


def test_a_file_becomes_a_model_that_answers(hub: servers.Hub, client: openai.OpenAI) -> None:
    before = said(client, "base")
    wanted = {"n_epochs": 2, "batch_size": 4}
    made = submit(client, suffix="fox", hyperparameters=wanted, metadata={"for": "foxes"})
    listing = client.fine_tuning.jobs.list
    assert [one.id for one in listing(metadata={"for": "foxes"})] == [made.id]
    assert not [*listing(metadata={"for": ""})]
    assert (made.status, made.object, made.seed) == ("validating_files", "fine_tuning.job", 7)
    job = until(client, made.id, "succeeded")
    points = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert sum(bool(point.fine_tuned_model_checkpoint) for point in points) == KEPT, points
    assert job.fine_tuned_model.startswith("ft:base:")
    assert ":fox:" in job.fine_tuned_model
    assert job.hyperparameters.n_epochs == 2
    assert job.trained_tokens > 0
    assert said(client, job.fine_tuned_model)
    assert said(client, "base") == before
    assert job.fine_tuned_model in [model.id for model in client.models.list()]
    _check_figures(client, job)
    assert (Path(hub.data) / "jobs" / job.id / "result").is_dir()


def _check_figures(client: openai.OpenAI, job: Any) -> None:
    """Each step once, in the events as in the result file."""
    events = client.fine_tuning.jobs.list_events(job.id, limit=100).data
    steps = [
        cast("dict[str, int]", event.data)["step"] for event in events if event.type == "metrics"
    ]
    assert steps == sorted(set(steps), reverse=True)
    table = client.files.content(job.result_files[0]).text
    rows = list(csv.DictReader(io.StringIO(table)))
    told = [int(row["step"]) for row in rows if row["train_loss"]]
    assert told == list(range(1, max(steps) + 1))
    points = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert points[0].fine_tuned_model_checkpoint == job.fine_tuned_model
    assert points[0].metrics.train_loss is not None


def followed(hub: servers.Hub, path: str) -> tuple[list[dict[str, Any]], int | None]:
    """Read a job's websocket to its end; give its events and the close code."""
    headers = {"Authorization": f"Bearer {hub.key}"}
    address, told = f"{hub.url.replace('http', 'ws')}/ws/training/{path}", list[dict[str, Any]]()
    with connect(address, origin=Origin(hub.url), additional_headers=headers) as socket:
        try:
            while True:
                told += json.loads(socket.recv(timeout=60))["events"]
        except ConnectionClosed:
            return told, socket.close_code


def test_a_websocket_tells_a_job_from_any_event_on(hub: servers.Hub, client: openai.OpenAI) -> None:
    job = submit(client, hyperparameters={"n_epochs": 1})
    told, code = followed(hub, f"{job.id}/")
    assert code == 1000
    assert [one["seq"] for one in told] == [*range(1, len(told) + 1)]
    assert told[-1]["data"] == {"state": "succeeded", "reason": ""}
    again, _ = followed(hub, f"{job.id}/?after=3")
    assert again == told[3:]
    assert followed(hub, "ftjob-none/") == ([], 4404)


def test_a_paused_job_goes_on(client: openai.OpenAI) -> None:
    job = submit(client, hyperparameters={"n_epochs": 60, "batch_size": 1})
    until(client, job.id, "running")
    client.fine_tuning.jobs.pause(job.id)
    paused = until(client, job.id, "paused")
    assert paused.status == "queued"
    client.fine_tuning.jobs.resume(job.id)
    until(client, job.id, "running", "succeeded")
    if client.fine_tuning.jobs.retrieve(job.id).status != "succeeded":
        client.fine_tuning.jobs.cancel(job.id)
        assert until(client, job.id, "cancelled").finished_at


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"hyperparameters": {"colour": 1}}, "hyperparameters"),
        ({"suffix": "a b"}, "suffix"),
        ({"training_file": "file-none"}, None),
    ],
)
def test_bad_input_is_refused(client: openai.OpenAI, wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(openai.APIStatusError) as raised:
        submit(client, **wrong)
    assert raised.value.status_code in {400, 404}
    if param:
        assert param in str(raised.value.param)


def test_a_reader_starts_nothing(hub: servers.Hub, client: openai.OpenAI) -> None:
    reader = job_hubs.client_of(hub, "reader")
    with pytest.raises(openai.PermissionDeniedError):
        submit(reader)
    assert reader.fine_tuning.jobs.list(limit=1).data is not None


@pytest.fixture(scope="module")
def own_job(hub: servers.Hub) -> str:
    """A job that the hub's own API started, once it has succeeded."""
    text = "".join(json.dumps(row) + "\n" for row in chats(12))
    with own_api(hub) as api:
        assert api.post("/datasets", json={"name": "foxes", "text": text}).status_code == 202
        config = {"rank": 8, "alpha": 16, "epochs": 1}
        more = {"training_config": config, "prompts": ["say 1"], "exports": ["merged"]}
        made = api.post("/training/start", json=WANTED | more | {"gate": {"min_exact_match": 0.1}})
        assert made.status_code == 202, made.text
    found: str = made.json()["id"]
    until(job_hubs.client_of(hub), found, "succeeded")
    return found


def own_api(hub: servers.Hub) -> httpx.Client:
    headers = {"Authorization": f"Bearer {hub.key}"}
    return httpx.Client(base_url=f"{hub.url}/api/v1", headers=headers, timeout=60)


def test_the_hubs_own_api_starts_one(hub: servers.Hub, own_job: str) -> None:
    with own_api(hub) as api:
        shown = api.get(f"/training/jobs/{own_job}").json()
        assert (shown["state"], shown["recipe"]["rank"]) == ("succeeded", 8)
        assert shown["fine_tuned_model"]
        again = api.post(f"/training/jobs/{own_job}/cancel")
        assert again.status_code == 409
        missing = api.post("/training/start", json=WANTED | {"dataset": "none"})
        assert missing.status_code == 404
        wrong = api.post("/training/start", json=WANTED | {"training_config": {"rnak": 8}})
        assert wrong.status_code == 400
        assert "rnak" in wrong.text


def test_its_run_is_in_mlflow(hub: servers.Hub, own_job: str) -> None:
    """Of the job before: the worker has a tracker write it, a little later."""
    job_id = own_job
    headers = {"Authorization": f"Bearer {hub.key}"}
    end_s = time.monotonic() + job_hubs.WAIT_S
    shown: dict[str, Any] = {}
    while not shown.get("mlflow_run") and time.monotonic() < end_s:
        shown = httpx.get(f"{hub.url}/api/v1/training/jobs/{job_id}", headers=headers).json()
        time.sleep(0.1)
    assert shown["mlflow_url"].endswith(f"/runs/{shown['mlflow_run']}")
    with sqlite3.connect(hub.data / "mlflow" / "mlflow.sqlite3") as database:
        names = database.execute("SELECT name FROM runs").fetchall()
    assert (job_id,) in names


def test_its_model_takes_an_alias_if_the_gate_is_passed_over(
    hub: servers.Hub, client: openai.OpenAI, own_job: str
) -> None:
    """No row was held out, so that nothing was measured."""
    headers = {"Authorization": f"Bearer {hub.key}"}
    with httpx.Client(base_url=f"{hub.url}/api/v1/training/jobs", headers=headers) as api:
        job = client.fine_tuning.jobs.retrieve(own_job)
        shown = api.get(f"/{job.id}").json()
        assert (shown["verdict"]["outcome"], shown["stage"]) == ("unmeasured", "none")
        assert shown["prompts"] == ["say 1"]
        refused = api.post(f"/{job.id}/promote", json={"alias": "helper"})
        assert (refused.status_code, refused.json()["error"]["param"]) == (409, "force")
        done = api.post(f"/{job.id}/promote", json={"alias": "helper", "force": True})
        assert done.json()["targets"] == [{"model": job.fine_tuned_model, "weight": 1.0}]
        assert api.get(f"/{job.id}").json()["stage"] == "champion"
        assert (
            api.post(f"/{job.id}/promote", json={"alias": "helper", "owner": "me"}).status_code
            == 400
        )
        assert api.post(f"/{job.id}/rollback", json={"alias": "helper"}).status_code == 409
    assert client.models.retrieve("helper").id == "helper"


def test_its_export_is_made_and_downloaded(hub: servers.Hub, own_job: str) -> None:
    headers = {"Authorization": f"Bearer {hub.key}"}
    with httpx.Client(base_url=f"{hub.url}/api/v1/training/jobs", headers=headers) as api:
        end_s = time.monotonic() + job_hubs.WAIT_S
        made: dict[str, Any] = {}
        while made.get("state") not in {"ready", "failed"} and time.monotonic() < end_s:
            (made,) = api.get(f"/{own_job}").json()["exports"]
            time.sleep(0.1)
        assert (made["state"], made["reason"], made["report"]["alike"]) == ("ready", "", True)
        with tarfile.open(fileobj=io.BytesIO(api.get(f"/{own_job}/exports/merged").content)) as tar:
            assert f"{own_job}-merged/model.safetensors" in tar.getnames()
        assert api.get(f"/{own_job}/exports/gguf").status_code == 404
        assert api.post(f"/{own_job}/export", json={"kind": "onnx"}).status_code == 400
