"""The worker keeps every job in MLflow: it starts trackers, catches up after an outage, says where a run is."""

import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.models import default_team_id
from inference import aliases
from inference.models import Model
from training import contract, mlflow_place, trackers
from training.models import DataSet, DataSetVersion, Job

pytestmark = pytest.mark.django_db(transaction=True)
WAIT_S = 120


@pytest.fixture
def job(trained: Path, settings: Settings, tmp_path: Path) -> Job:
    """A job that has ended, with what its process left."""
    settings.HUB_DATA = tmp_path
    data_set = DataSet.objects.create(name="foxes", team_id=default_team_id())
    version = DataSetVersion.objects.create(data_set=data_set, number=1, address="c" * 64)
    made = Job.objects.create(
        base="tiny", version=version, training_type="lora", team_id=data_set.team_id
    )
    Job.objects.filter(pk=made.pk).update(state=Job.State.SUCCEEDED)
    shutil.copytree(trained, made.folder())
    return made


def until(seen: trackers.Trackers, job: Job, done: Callable[[Job], bool]) -> Job:
    end_s = time.monotonic() + WAIT_S
    while time.monotonic() < end_s:
        seen.turn()
        job.refresh_from_db()
        if done(job):
            return job
        time.sleep(0.1)
    raise TimeoutError((job.folder() / trackers.LOG).read_text())


def test_a_job_is_written_after_an_outage(job: Job, settings: Settings) -> None:
    seen = trackers.Trackers()
    settings.HUB_MLFLOW_URI = "http://127.0.0.1:9"
    until(seen, job, lambda job: job.pk in seen.patience)
    assert (job.is_tracked, trackers.address(job)) == (False, "")
    settings.HUB_MLFLOW_URI = ""
    seen.turn()
    assert seen.running == {}, "it is not tried again at once"
    seen.patience.clear()
    until(seen, job, lambda job: job.is_tracked)
    with sqlite3.connect(mlflow_place.folder() / "mlflow.sqlite3") as database:
        run, experiment = database.execute("SELECT run_uuid, experiment_id FROM runs").fetchone()
        steps = database.execute("SELECT step FROM metrics WHERE key = 'loss'").fetchall()
        workspace = database.execute(
            "SELECT workspace FROM experiments WHERE experiment_id = ?", (experiment,)
        ).fetchone()
    assert sorted(step for (step,) in steps) == list(range(1, 19))
    assert workspace == (f"team-{job.team_id}",)
    assert job.team_id
    page = f"/mlflow/?team={job.team.name}#/experiments/{experiment}/runs/{run}"
    assert trackers.address(job) == page
    until(seen, job, lambda _: not seen.running)
    _lead_to(job)
    until(seen, job, lambda job: job.is_tracked and job.stage == "champion")
    with sqlite3.connect(mlflow_place.folder() / "mlflow.sqlite3") as database:
        aliases = database.execute("SELECT alias FROM registered_model_aliases").fetchall()
    assert aliases == [("champion",)]


@pytest.mark.parametrize(("state", "status"), [("cancelled", "KILLED"), ("failed", "FAILED")])
def test_a_job_whose_process_was_killed_has_ended_there_too(
    job: Job, state: str, status: str
) -> None:
    """Its spool breaks off: what became of it, only the hub knows."""
    spool = job.folder() / contract.EVENTS
    lines = spool.read_bytes().splitlines(keepends=True)
    spool.write_bytes(b"".join(lines[: len(lines) // 2]))
    Job.objects.filter(pk=job.pk).update(state=state, error_code="why", error_message="for this")
    until(trackers.Trackers(), job, lambda job: job.is_tracked)
    with sqlite3.connect(mlflow_place.folder() / "mlflow.sqlite3") as database:
        runs = database.execute("SELECT status, end_time IS NOT NULL FROM runs").fetchall()
        told = database.execute("SELECT value FROM tags WHERE key = 'hub.error'").fetchall()
    assert runs == [(status, 1)]
    assert told == [("why: for this",)]


def _lead_to(job: Job) -> None:
    """Somebody gives its model a name."""
    Model.objects.create(name="ft:x", kind="llm", engine="fake", path="/m")
    Job.objects.filter(pk=job.pk).update(fine_tuned_model="ft:x")
    aliases.create("helper", aliases.Wanted(targets=[{"model": "ft:x"}]))


def test_a_job_that_never_began_needs_no_tracker(job: Job) -> None:
    shutil.rmtree(job.folder())
    seen = trackers.Trackers()
    seen.turn()
    job.refresh_from_db()
    assert job.is_tracked
    assert seen.running == {}


def test_a_job_that_mlflow_refuses_keeps_no_other_from_it(job: Job) -> None:
    (job.folder() / contract.JOB).write_text("{}")
    seen = trackers.Trackers()
    until(seen, job, lambda job: job.pk in seen.patience)
    assert seen.running == {}
    assert not job.is_tracked
