"""Room that jobs write into: never promised twice, counted for the team, settled by whoever comes next."""

import shutil
import threading
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from django.db import connection
from pytest_django import Settings

from accounts import quotas
from accounts.models import Holding, Limit, default_team_id
from hub.dashboard import event_words
from inference.errors import DiskFull
from inference.models import Model
from tests.training import jobs as real
from training import bases, files, minutes, resolving, room, settling, states, supervising
from training.models import Attempt, DataSet, DataSetVersion, Export, Job

State = Job.State
MB = 10**6
FREE = 100 * MB
pytestmark = pytest.mark.django_db(transaction=True)


class Usage(NamedTuple):
    total: int
    used: int
    free: int


@pytest.fixture(name="version")
def _version(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataSetVersion:
    """On a disk that has 100 MB left."""
    settings.HUB_DATA = tmp_path
    monkeypatch.setattr(shutil, "disk_usage", lambda _place: Usage(2 * FREE, FREE, FREE))
    data_set = DataSet.objects.create(name="foxes", team_id=default_team_id())
    known: dict[str, Any] = {"format": "chat", "train_rows": 8, "characters": 4_000}
    return DataSetVersion.objects.create(data_set=data_set, number=1, state="ready", **known)


def job(version: DataSetVersion, state: State = State.QUEUED, **fields: Any) -> Job:
    known = {"base": "tiny", "training_type": "lora", "team_id": version.data_set.team_id}
    return Job.objects.create(**known | fields, version=version, state=state)


def write(made: Job, size_bytes: int, name: str = "checkpoints/step-1/weights") -> None:
    file = made.folder() / name
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as sparse:
        sparse.truncate(size_bytes)


def used() -> int:
    bearer = quotas.Bearer(None, default_team_id())
    return quotas.standing(bearer, files.STORAGE)[0].used


def test_jobs_that_start_at_once_never_count_on_the_same_room(version: DataSetVersion) -> None:
    refused, start = list[str](), threading.Barrier(6)

    def begin(made: Job) -> None:
        start.wait()
        try:
            room.reserve(made, 40 * MB)
        except DiskFull as error:
            refused.append(error.message)
        finally:
            connection.close()

    threads = [threading.Thread(target=begin, args=(job(version),)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 4
    assert all("20.0 MB are left beside what is promised to others" in one for one in refused)
    assert room.free_bytes() == 20 * MB


def test_what_is_written_is_promised_no_longer(version: DataSetVersion) -> None:
    made = job(version)
    room.reserve(made, 60 * MB)
    write(made, 50 * MB)
    assert room.promised_bytes() == 10 * MB
    write(made, 70 * MB)  # more than was thought takes nothing from others
    assert room.promised_bytes() == 0


def test_an_export_that_is_made_holds_its_room_too(version: DataSetVersion) -> None:
    made = job(version, State.SUCCEEDED)
    export = Export.objects.create(job=made, kind="gguf", state="running")
    files.reserve(quotas.Bearer(None, made.team_id), export.holder, 70 * MB)
    write(made, 10 * MB, "exports/gguf/model.gguf")
    with pytest.raises(DiskFull):
        room.reserve(job(version), 41 * MB)
    room.reserve(job(version), 40 * MB)


@pytest.mark.parametrize("end", [State.PAUSED, State.CANCELLED, State.FAILED])
def test_an_end_counts_what_lies_there(version: DataSetVersion, end: State) -> None:
    made = job(version, State.RUNNING)
    room.reserve(made, 60 * MB)
    write(made, 5 * MB)
    write(made, 30 * MB, "exports/gguf/model.gguf")  # has a row of its own
    assert used() == 60 * MB
    assert states.move(made, {State.RUNNING}, end)
    assert (used(), room.promised_bytes()) == (5 * MB, 0)


def test_the_next_worker_settles_what_a_dead_one_had_promised(version: DataSetVersion) -> None:
    made = job(version, State.RUNNING)
    Attempt.objects.create(job=made, number=1, pid=7)
    room.reserve(made, 60 * MB)
    write(made, 5 * MB)
    settling.settle(made)
    assert (made.state, used(), room.promised_bytes()) == (State.QUEUED, 5 * MB, 0)


@pytest.fixture(name="ready")
def _ready(version: DataSetVersion, tmp_path: Path) -> Job:
    """A job with a base, whose turn it is."""
    place = real.tiny_base(tmp_path / "tiny")
    Model.objects.create(name="tiny", kind="llm", engine="llm_transformers", path=str(place))
    return job(version, recipe={"learning_rate": 1e-3}, estimate_bytes=2**20)


@pytest.mark.usefixtures("idle_node")
def test_a_job_without_room_waits_and_goes_on_when_there_is_some(
    ready: Job, version: DataSetVersion
) -> None:
    other = job(version, State.RUNNING)
    room.reserve(other, FREE)
    supervising.supervise(ready.pk, threading.Event())
    ready.refresh_from_db()
    assert (ready.state, ready.error_code) == (State.PAUSED, "disk_full")
    assert "promised to others" in ready.reason
    assert not ready.attempts.exists()
    assert not quotas.is_held(files.STORAGE, room.holder(ready))


def test_it_goes_on_only_once_there_is_room(
    ready: Job, version: DataSetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    Job.objects.filter(pk=ready.pk).update(state=State.PAUSED, error_code="disk_full")
    monkeypatch.setattr(supervising, "RESUME_FREE_BYTES", 0)
    other = job(version, State.RUNNING)
    room.reserve(other, FREE)
    stopped = threading.Event()
    crew = supervising.Crew(stopped)
    monkeypatch.setattr(Job.objects, "waiting", Job.objects.none)
    crew.turn()
    ready.refresh_from_db()
    assert ready.state == State.PAUSED
    room.settle(other)
    crew.turn()
    ready.refresh_from_db()
    assert ready.state == State.QUEUED


@pytest.mark.usefixtures("idle_node")
def test_a_team_without_storage_left_pauses_and_says_why(ready: Job) -> None:
    subject = f"team:{ready.team_id}"
    Limit.objects.create(subject=subject, storage_bytes=1000)
    supervising.supervise(ready.pk, threading.Event())
    ready.refresh_from_db()
    assert (ready.state, ready.error_code) == (State.PAUSED, minutes.SPENT)
    assert "quota of this team is 1000 bytes of storage" in ready.reason
    assert "of 1000 bytes 1000 are left" in event_words.words(ready.reason)
    assert not Holding.objects.filter(kind=files.STORAGE).exists()


def test_what_is_promised_holds_the_exports_that_were_asked_for_with_it(ready: Job) -> None:
    alone = resolving.most_bytes(ready)
    base = resolving.read_base(bases.find("tiny")[1])
    ready.exports = ["gguf", "merged"]
    more = resolving.most_bytes(ready) - alone
    place = Path(Model.objects.get(name="tiny").path)
    assert more == 2 * base.parameters + room.bytes_in(place)
