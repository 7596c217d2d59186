"""What is wrong with one job is that job's alone: it ends with its reason, and others begin."""

import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

from accounts.models import default_team_id
from inference.models import Model
from tests.training import jobs as real
from training import attempts, supervising
from training.models import DataSet, DataSetVersion, Job

State = Job.State
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(name="version")
def _version(settings: Settings, tmp_path: Path) -> DataSetVersion:
    settings.HUB_DATA = tmp_path
    data_set = DataSet.objects.create(name="foxes", team_id=default_team_id())
    known: dict[str, Any] = {"format": "chat", "train_rows": 8, "characters": 4_000}
    return DataSetVersion.objects.create(data_set=data_set, number=1, state="ready", **known)


def base(folder: Path, name: str) -> Path:
    place = real.tiny_base(folder / name)
    Model.objects.create(name=name, kind="llm", engine="llm_transformers", path=str(place))
    return place


def job(version: DataSetVersion, **fields: Any) -> Job:
    known = {"base": "good", "training_type": "lora", "team_id": version.data_set.team_id}
    return Job.objects.create(**known | fields, version=version)


def turn() -> None:
    """Prepare what waits; begin nothing."""
    crew = supervising.Crew(threading.Event())
    crew.turn()
    crew.leave()


@pytest.mark.usefixtures("idle_node")
@pytest.mark.parametrize("harm", ["gone", "cut", "unreadable"])
def test_a_base_that_went_away_stops_no_other_job(
    version: DataSetVersion, tmp_path: Path, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "MOST_AT_ONCE", 0)
    base(tmp_path, "good")
    weights = next(base(tmp_path, "bad").glob("*.safetensors"))
    bad, good = job(version, base="bad"), job(version)
    weights.write_bytes(weights.read_bytes()[:100])
    if harm != "cut":
        weights.unlink()
    if harm == "unreadable":
        weights.mkdir()
    turn()
    bad.refresh_from_db()
    good.refresh_from_db()
    assert (bad.state, good.state) == (State.FAILED, State.QUEUED)
    assert "base" in bad.error_message
    assert (bad.error_code, str(tmp_path) in bad.error_message) == ("invalid_value", False)


@pytest.mark.usefixtures("idle_node")
def test_a_kept_recipe_that_is_none_any_more_ends_its_job_alone(
    version: DataSetVersion, tmp_path: Path
) -> None:
    base(tmp_path, "good")
    paused: dict[str, Any] = {
        "state": State.PAUSED,
        "error_code": "disk_full",
        "recipe": {"rank": "wide"},
    }
    paused |= {"estimate_bytes": 2**20}
    bad, good = job(version, **paused), job(version)
    supervising._resume_for_disk()
    bad.refresh_from_db()
    assert bad.state == State.QUEUED
    supervising.supervise(bad.pk, threading.Event())
    bad.refresh_from_db()
    assert (bad.state, bad.error_code) == (State.FAILED, "invalid_value")
    assert "rank" in bad.error_message
    good.refresh_from_db()
    assert good.state == State.VALIDATING


# --- a start that the machine refuses -------------------------------------------------------------


@pytest.fixture(name="queued")
def _queued(version: DataSetVersion, tmp_path: Path) -> Job:
    base(tmp_path, "good")
    return job(version, state=State.QUEUED, recipe={"learning_rate": 1e-3}, estimate_bytes=2**20)


@pytest.mark.usefixtures("idle_node")
@pytest.mark.parametrize(
    ("number", "code"),
    [(errno.ENOSPC, "disk_full"), (errno.EDQUOT, "disk_full"), (errno.EACCES, "")],
)
def test_a_start_that_the_machine_refuses_pauses_the_job_once(
    queued: Job, number: int, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("training.contract.write_job", refuse)
    supervising.supervise(queued.pk, threading.Event())
    queued.refresh_from_db()
    assert (queued.state, queued.error_code) == (State.PAUSED, code)
    assert os.strerror(number) in queued.reason
    assert not queued.attempts.exists()


@pytest.mark.usefixtures("idle_node")
def test_a_folder_that_takes_no_job_file_pauses_the_job(queued: Job) -> None:
    """The file system itself refuses."""
    (queued.folder() / "job.json").mkdir(parents=True)
    supervising.supervise(queued.pk, threading.Event())
    queued.refresh_from_db()
    assert (queued.state, queued.error_code, queued.attempts.count()) == (State.PAUSED, "", 0)


def test_room_by_size_alone_resumes_no_job(version: DataSetVersion) -> None:
    """Its folder takes no file: it would pause again at once, and so on without end."""
    paused = job(version, state=State.PAUSED, error_code="disk_full")
    paused.folder().parent.mkdir()
    paused.folder().touch()
    supervising._resume_for_disk()
    paused.refresh_from_db()
    assert paused.state == State.PAUSED
    paused.folder().unlink()
    supervising._resume_for_disk()
    paused.refresh_from_db()
    assert paused.state == State.QUEUED


# --- what a process sees --------------------------------------------------------------------------


def test_a_job_on_the_cpu_sees_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(attempts.DEVICES, "3,5")
    assert attempts._chosen("cpu") == {attempts.DEVICES: ""}
    assert attempts._chosen("cuda:1") == {attempts.DEVICES: "5"}
