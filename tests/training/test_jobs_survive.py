"""A job lends its memory back, is killed with all that is around it, and ends as if nothing had been."""

import fcntl
import random
import signal
from collections.abc import Iterator

import openai
import pytest
from asgiref.sync import async_to_sync
from pytest_django import Settings

from inference import router
from tests import servers
from tests.training import job_hubs
from tests.training.jobs import tiny_base
from training import contract, processes

MB = 10**6
WORDY = {
    "name": "wordy",
    "kind": "llm",
    "engine": "fake",
    "path": "",
    "settings": {"options": {"memory_bytes": 400 * MB}},
}
RECIPE = {"n_epochs": 20, "batch_size": 1}
STEPS = 240
KILLS = ("training", "worker", "node", "valkey", "node", "valkey")
SEED = 20261126
HANG_S = "30"


@pytest.fixture(scope="module", name="hub")
def _hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Hub]:
    """Its node has room for a training or for the model `wordy`, not for both."""
    base = tiny_base(tmp_path_factory.mktemp("base"))
    with job_hubs.training_hub(
        base, WORDY, AI_HUB_MEMORY_LIMIT="1000000000", AI_HUB_TRAINING_HANG_TIMEOUT=HANG_S
    ) as hub:
        yield hub


@pytest.fixture(scope="module", name="client")
def _client(hub: servers.Hub) -> openai.OpenAI:
    return job_hubs.client_of(hub)


@pytest.fixture(scope="module")
def undisturbed(hub: servers.Hub, client: openai.OpenAI) -> bytes:
    job = job_hubs.submit(client, hyperparameters=RECIPE)
    job_hubs.until(client, job.id, "succeeded")
    assert job_hubs.told_steps(client, job.id) == [*range(1, STEPS + 1)]
    return job_hubs.weights(hub, job.id)


def check_end(
    hub: servers.Hub, client: openai.OpenAI, job_id: str, undisturbed: bytes, settings: Settings
) -> None:
    """The same adapter, each step once, and nothing left behind."""
    job_hubs.until(client, job_id, "succeeded")
    assert job_hubs.weights(hub, job_id) == undisturbed
    assert job_hubs.told_steps(client, job_id) == [*range(1, STEPS + 1)]
    assert not job_hubs.trainings(job_id)
    settings.HUB_NODE_ADDRESS = hub.node_address
    assert not async_to_sync(router.snapshot)().reservations
    with (job_hubs.folder(hub, job_id) / processes.LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # its supervisor lets go once the row is written


def test_it_pauses_for_a_request_and_goes_on(
    hub: servers.Hub, client: openai.OpenAI, undisturbed: bytes, settings: Settings
) -> None:
    job = job_hubs.submit(client, hyperparameters=RECIPE)
    job_hubs.after_step(hub, job.id, 20)
    answer = client.completions.create(model="wordy", prompt="one two", max_tokens=2, timeout=60)
    assert answer.choices[0].text
    check_end(hub, client, job.id, undisturbed, settings)
    told = job_hubs.messages(client, job.id)
    assert any("gave its memory back" in message for message in told), told
    assert not any("without progress" in message for message in told)


def test_a_process_that_hangs_is_ended_and_begun_anew(
    hub: servers.Hub, client: openai.OpenAI, undisturbed: bytes, settings: Settings
) -> None:
    job = job_hubs.submit(client, hyperparameters=RECIPE)
    job_hubs.after_step(hub, job.id, 70)
    stopped = job_hubs.trainings(job.id)
    job_hubs.kill(hub, job.id, "training", signal.SIGSTOP)
    job_hubs.when(client, job.id, lambda one: one.x_hub_status in {"queued", "starting"})
    assert not any(process.is_running() for process in stopped)
    check_end(hub, client, job.id, undisturbed, settings)
    told = job_hubs.messages(client, job.id)
    assert f"Its process said nothing for {HANG_S} s: it was ended." in told


def test_it_waits_for_memory_with_the_reason(hub: servers.Hub, client: openai.OpenAI) -> None:
    """The second of two that do not fit together waits, and says why."""
    first = job_hubs.submit(client, hyperparameters=RECIPE)
    job_hubs.until(client, first.id, "starting", "running")
    second = job_hubs.submit(client, hyperparameters=RECIPE)
    waiting = job_hubs.when(client, second.id, lambda job: bool(job.x_hub_reason))
    assert waiting.x_hub_status == "queued"
    assert "Waits for memory" in waiting.x_hub_reason
    client.fine_tuning.jobs.cancel(first.id)
    job_hubs.until(client, second.id, "starting", "running")
    client.fine_tuning.jobs.cancel(second.id)
    for job in (first, second):
        job_hubs.until(client, job.id, "cancelled")


def test_what_never_fits_is_told_before_a_process_starts(
    hub: servers.Hub, client: openai.OpenAI
) -> None:
    told = refusal(hub, client, {"n_epochs": 1, "batch_size": 1024})
    assert "the node lends 1.00 GB at most" in told
    assert "it would fit" in told


def refusal(hub: servers.Hub, client: openai.OpenAI, recipe: dict[str, int]) -> str:
    """Refused at once where the data is already checked, or else when it is."""
    try:
        job = job_hubs.submit(client, hyperparameters=recipe)
    except openai.BadRequestError as error:
        return error.message
    failed = job_hubs.until(client, job.id, "failed")
    assert not (job_hubs.folder(hub, job.id) / contract.JOB).exists()
    return str(failed.error.message)


def test_it_survives_kills_of_everything_around_it(
    hub: servers.Hub, client: openai.OpenAI, undisturbed: bytes, settings: Settings
) -> None:
    chance = random.Random(SEED)
    kinds, moments = [*KILLS], sorted(chance.sample(range(5, STEPS - 20), len(KILLS)))
    chance.shuffle(kinds)
    job = job_hubs.submit(client, hyperparameters=RECIPE)
    for kind, step in zip(kinds, moments, strict=True):
        job_hubs.after_step(hub, job.id, step)
        job_hubs.kill(hub, job.id, kind)
    check_end(hub, client, job.id, undisturbed, settings)
    assert not [*job_hubs.folder(hub, job.id).glob(".result-*")]
