"""Disk, memory or minutes of a job run out in mid-run: it says so, and goes on as if they had not."""

import sqlite3
from collections.abc import Iterator

import httpx
import openai
import psutil
import pytest

from tests import servers
from tests.inference.engines import small_tokenizers, tiny_models
from tests.training import job_hubs
from tests.training.jobs import tiny_base

RECIPE = {"n_epochs": 20, "batch_size": 1}
STEPS = 240
SMALL_BYTES = 120_000  # an event still fits, a checkpoint does not
WIDE_STEPS = 8
LONG = [
    {
        "messages": [
            {"role": "user", "content": "word " * 60 + str(at)},
            {"role": "assistant", "content": f"the fox {at}"},
        ]
    }
    for at in range(16)
]


@pytest.fixture(scope="module", name="hub")
def _hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Hub]:
    """A step of the model `wide` asks the kernel for memory: its tensors are too large to be kept."""
    folder = tmp_path_factory.mktemp("wide")
    sizes = {"hidden_size": 64, "intermediate_size": 8192}
    path = str(tiny_models.make(folder, "llama", small_tokenizers.CHATML, **sizes))
    wide = {"name": "wide", "kind": "llm", "engine": "llm_transformers", "path": path}
    with job_hubs.training_hub(tiny_base(tmp_path_factory.mktemp("base")), wide) as hub:
        yield hub


@pytest.fixture(scope="module", name="client")
def _client(hub: servers.Hub) -> openai.OpenAI:
    return job_hubs.client_of(hub)


def limit(job_id: str, what: int, size_bytes: int) -> None:
    """Let the kernel refuse the job's process more than this; wait until it has ended of it."""
    for one in job_hubs.trainings(job_id):
        one.rlimit(what, (size_bytes, one.rlimit(what)[1]))
    job_hubs.gone(job_id)


def test_a_disk_that_fills_pauses_it_until_there_is_room(
    hub: servers.Hub, client: openai.OpenAI
) -> None:
    """At first for a checkpoint, then for its events too."""
    plain = job_hubs.submit(client, hyperparameters=RECIPE)
    job_hubs.until(client, plain.id, "succeeded")
    job = job_hubs.submit(client, hyperparameters=RECIPE)
    for step, size_bytes in ((20, SMALL_BYTES), (70, 1)):
        job_hubs.after_step(hub, job.id, step)
        limit(job.id, psutil.RLIMIT_FSIZE, size_bytes)
    job_hubs.until(client, job.id, "succeeded")
    assert job_hubs.weights(hub, job.id) == job_hubs.weights(hub, plain.id)
    assert job_hubs.told_steps(client, job.id) == [*range(1, STEPS + 1)]
    told = [one for one in job_hubs.messages(client, job.id) if "is paused" in one]
    assert len(told) == 2, told
    assert all("Disk full" in one for one in told), told
    assert not [*job_hubs.folder(hub, job.id).glob("checkpoints/.*")]


def write(hub: servers.Hub, command: str, *values: object) -> None:
    with sqlite3.connect(hub.data / "hub.sqlite3", timeout=60) as database:
        assert database.execute(command, values).rowcount


def test_minutes_that_run_out_pause_it_until_there_are_more(
    hub: servers.Hub, client: openai.OpenAI
) -> None:
    """What it took before is made so long that a few seconds are left of the third minute."""
    plain = job_hubs.submit(client, hyperparameters=RECIPE)
    job_hubs.until(client, plain.id, "succeeded")
    job = job_hubs.submit(client, hyperparameters=RECIPE)
    job_hubs.after_step(hub, job.id, 20)
    client.fine_tuning.jobs.pause(job.id)
    job_hubs.until(client, job.id, "paused")
    earlier = "started_at = datetime(ended_at, '-168 seconds')"
    write(hub, f"UPDATE training_attempt SET {earlier} WHERE job_id = ?", job.id)
    write(hub, "DELETE FROM accounts_holding WHERE holder != ?", f"{job.id}#1")
    write(hub, "UPDATE accounts_holding SET amount = 3 WHERE holder = ?", f"{job.id}#1")
    limit = "INSERT INTO accounts_limit (subject, training_minutes, updated_at) VALUES (?, ?, ?)"
    write(hub, limit, "everyone", 3, "2026-01-01 00:00:00")
    try:
        client.fine_tuning.jobs.resume(job.id)
        paused = job_hubs.until(client, job.id, "paused")
        assert "quota of this user is 3 minutes of training" in paused.x_hub_reason
        with pytest.raises(openai.RateLimitError, match="of which 0 are left"):
            client.fine_tuning.jobs.resume(job.id)
        write(hub, "UPDATE accounts_limit SET training_minutes = 6")
        client.fine_tuning.jobs.resume(job.id)
        job_hubs.until(client, job.id, "succeeded")
        assert job_hubs.weights(hub, job.id) == job_hubs.weights(hub, plain.id)
    finally:
        write(hub, "DELETE FROM accounts_limit")


def test_memory_that_runs_out_halves_the_batch(hub: servers.Hub, client: openai.OpenAI) -> None:
    file = job_hubs.upload(client, LONG)
    recipe = {"n_epochs": 4, "batch_size": 8}
    job = job_hubs.submit(client, model="wide", training_file=file, hyperparameters=recipe)
    job_hubs.after_step(hub, job.id, 3)
    limit(job.id, psutil.RLIMIT_DATA, 1)
    job_hubs.until(client, job.id, "succeeded")
    assert job_hubs.told_steps(client, job.id) == [*range(1, WIDE_STEPS + 1)]
    told = job_hubs.messages(client, job.id)
    assert any("ran out of memory; it goes on with half the batch" in one for one in told), told
    headers = {"Authorization": f"Bearer {hub.key}"}
    shown = httpx.get(f"{hub.url}/api/v1/training/jobs/{job.id}", headers=headers).json()
    sizes = (shown["recipe"]["batch_size"], shown["recipe"]["gradient_accumulation"])
    assert sizes == (4, 2)
