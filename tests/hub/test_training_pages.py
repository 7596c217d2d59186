"""Pages of trainings: three steps and a plan, then a job with its curves, samples and buttons."""

import json
from html import unescape
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.test import Client
from pytest_django import Settings

from accounts import principals
from accounts.models import User
from hub.dashboard.job_page import JobPage
from inference import catalog
from inference.models import Model
from tests.training.jobs import chats, tiny_base
from training import contract, diary, files, ingest, sets, states, store
from training.models import DataSetVersion, Job

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]
State = Job.State


@pytest.fixture(scope="module", name="folder")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(name="tess")
def _tess(settings: Settings, tmp_path: Path, folder: Path) -> User:
    settings.HUB_DATA = tmp_path
    Model.objects.create(name="base", kind="llm", engine="llm_transformers", path=str(folder))
    catalog.invalidate()
    return User.objects.create(username="tess", role="trainer")


@pytest.fixture(name="browser")
def _browser(client: Client, tess: User) -> Client:
    client.force_login(tess)
    return client


@pytest.fixture(name="version")
def _version(tess: User) -> DataSetVersion:
    return brought(tess, "foxes", chats(12))


def brought(user: User, name: str, rows: list[dict[str, Any]]) -> DataSetVersion:
    """Bring rows as a data set, and check them as the worker does."""
    who = principals.of_user(user)
    with store.Incoming() as incoming:
        incoming.write("".join(json.dumps(row) + "\n" for row in rows).encode())
        file = files.take(incoming, who, f"{name}.jsonl", "fine-tune")
    version = sets.create(who, name, sets.Wanted(file.pk))
    ingest.validate(version.pk)
    version.refresh_from_db()
    return version


def page(browser: Client, address: str) -> str:
    answer = browser.get(address)
    assert answer.status_code == 200, answer
    return unescape(answer.content.decode())


def address(version: DataSetVersion, **more: str) -> str:
    fields = "".join(f"&{name.replace('set_', 'set-')}={value}" for name, value in more.items())
    return f"/training/new/?base=base&version={version.pk}{fields}"


def begun(browser: Client, version: DataSetVersion, **more: str) -> Job:
    answer = browser.post(address(version, **more))
    job = Job.objects.latest("created_at")
    assert answer["Location"] == f"/training/about/{job.pk}/"
    return job


def test_three_steps_lead_to_a_plan(browser: Client, version: DataSetVersion) -> None:
    assert "Which model is to learn?" in page(browser, "/training/new/")
    assert "foxes v1" in page(browser, "/training/new/?base=base")
    shown = page(browser, address(version))
    assert "How is it to learn?" in shown
    assert 'placeholder="16"' in shown
    assert "enough for style and facts" in shown
    assert "Start the training" in shown


def test_what_was_chosen_is_what_is_asked_for(browser: Client, version: DataSetVersion) -> None:
    more = {"set_epochs": "2", "set_rank": "4", "set_packing": "yes", "type": "rslora"}
    job = begun(browser, version, suffix="fox", seed="9", yields="no", prompts="who%0Awhat", **more)
    assert job.prompts == ["who", "what"]
    assert (job.training_type, job.suffix, job.seed) == ("rslora", "fox", 9)
    assert job.config == {"epochs": 2, "rank": 4, "packing": True}
    assert not job.is_preemptible
    again = browser.get(f"/training/new/?from={job.pk}")
    assert "set-rank=4" in again["Location"]
    assert "set-packing=yes" in again["Location"]


def test_a_guard_set_and_the_limits_of_the_gate_go_with_it(
    browser: Client, version: DataSetVersion, tess: User
) -> None:
    guard = brought(tess, "sums", chats(14))
    shown = page(browser, address(version))
    assert f'<option value="{guard.pk}">sums v1</option>' in shown
    assert 'id="gate-max_guard_ratio"' in shown
    job = begun(browser, version, guard=guard.pk, **{"gate-max_guard_ratio": "1.2"})
    assert job.guard == guard
    again = browser.get(f"/training/new/?from={job.pk}")["Location"]
    assert f"guard={guard.pk}" in again
    assert "gate-max_guard_ratio=1.2" in again


def test_a_limit_that_is_none_is_said(browser: Client, version: DataSetVersion) -> None:
    shown = page(browser, f"{address(version)}&gate-min_json_valid=7")
    assert "gate.min_json_valid: Expected `float` <= 1.0" in shown
    assert "Start the training" not in shown


def test_rows_that_no_base_counted_are_bounded_by_their_bytes(
    browser: Client, version: DataSetVersion
) -> None:
    shown = page(browser, address(version))
    assert "no row is longer: its bytes count" in shown
    assert "the longest row" not in shown


def test_a_wrong_value_is_said_and_nothing_begins(browser: Client, version: DataSetVersion) -> None:
    shown = page(browser, address(version, set_rank="many"))
    assert 'role="alert"' in shown
    assert "Start the training" not in shown
    assert 'id="set-rank" name="set-rank" maxlength="400" value="many"' in shown
    browser.post(address(version, set_rank="many"))
    assert not Job.objects.exists()


def test_data_of_pairs_is_for_dpo_alone(browser: Client, version: DataSetVersion) -> None:
    assert 'value="dpo"' not in page(browser, address(version))
    DataSetVersion.objects.filter(pk=version.pk).update(format="preference")
    shown = page(browser, address(version, type="lora"))
    assert 'value="dpo" checked' in shown
    assert 'value="lora"' not in shown


def told(job: Job, *events: contract.AnyEvent) -> None:
    """Write a spool as a training process does, and take it over as the supervisor does."""
    job.folder().mkdir(parents=True, exist_ok=True)
    for seq, event in enumerate(events, 1):
        event.seq, event.at = seq, 1_790_000_000.0 + seq
    lines = b"".join(msgspec.json.encode(event) + b"\n" for event in events)
    (job.folder() / contract.EVENTS).write_bytes(lines)
    diary.catch_up(job)
    job.refresh_from_db()


def step(number: int, loss: float) -> contract.StepEvent:
    return contract.StepEvent(
        step=number,
        steps=9,
        epoch=0.1,
        loss=loss,
        learning_rate=1e-3,
        grad_norm=1.0,
        tokens=100 * number,
        tokens_per_s=50.0,
        memory_bytes=10**9,
        seconds=1.0,
        eta_s=120.0,
    )


def test_a_job_shows_its_curves_and_what_it_says(
    browser: Client, version: DataSetVersion, tess: User
) -> None:
    job = begun(browser, version)
    states.move(job, {State.VALIDATING}, State.STARTING)
    told(
        job,
        contract.PhaseEvent(phase="training"),
        step(1, 3.25),
        step(2, 2.5),
        contract.EvaluationEvent(step=2, loss=2.75),
        contract.SampleEvent(step=2, prompt="who jumps?", base="nobody", answer="the fox"),
        contract.CheckpointEvent(step=2, path="/nowhere", sha256="0" * 64, loss=2.75),
    )
    shown = page(browser, f"/training/about/{job.pk}/")
    assert "Step 2 of 9, about 2 min left." in shown
    series = json.loads(JobPage(job, principals.of_user(tess)).series_json)
    assert series["train_loss"] == [3.25, 2.5]
    assert series["valid_loss"] == [None, 2.75]
    for words in ("who jumps?", "nobody", "the fox", "Checkpoint at step 2.", "foxes v1"):
        assert words in shown
    assert "Stop and register" in shown
    assert job.pk in page(browser, "/training/")
    assert job.pk in page(browser, f"/datasets/about/{version.data_set_id}/")


def test_buttons_do_what_they_say_where_they_may(
    browser: Client, version: DataSetVersion, client: Client
) -> None:
    job = begun(browser, version)
    states.move(job, {State.VALIDATING}, State.QUEUED)
    for verb, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        browser.post(f"/training/change/{job.pk}/{verb}/")
        assert f'data-state="{state}"' in page(browser, f"/training/about/{job.pk}/")
    assert browser.post(f"/training/change/{job.pk}/explode/").status_code == 404
    client.force_login(User.objects.create(username="vera", role="viewer"))
    assert client.post(f"/training/change/{job.pk}/cancel/").status_code == 403
