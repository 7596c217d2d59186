"""What jobs leave on the disk: it goes with them, after its days, or where no row leads to it."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts import principals, quotas, teams
from accounts.models import AuditRow, Team, User
from accounts.principals import Principal
from inference.errors import Conflict, PermissionDenied
from inference.models import Model
from training import files, processes, retention, room
from training.models import DataSet, DataSetVersion, Export, Job

State = Job.State
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(name="who")
def _who(settings: Settings, tmp_path: Path) -> Principal:
    settings.HUB_DATA = tmp_path
    user = User.objects.create(username="trina", role="trainer")
    teams.add(teams.create("red"), user, None, "trainer")
    return principals.of_user(user)


@pytest.fixture(name="job")
def _job(who: Principal) -> Job:
    """One that has succeeded a while ago, with two checkpoints and a result."""
    del who
    team = Team.objects.get(name="red")
    version = DataSetVersion.objects.create(
        data_set=DataSet.objects.create(name="s", team=team), number=1
    )
    known: dict[str, Any] = {"team": team, "visibility": "team", "state": State.SUCCEEDED}
    ended = timezone.now() - dt.timedelta(days=10)
    made = Job.objects.create(
        base="base", version=version, training_type="lora", ended_at=ended, **known
    )
    for name in ("checkpoints/step-00000001", "checkpoints/step-00000002", "result"):
        (made.folder() / name).mkdir(parents=True)
        (made.folder() / name / "adapter_model.safetensors").write_bytes(b"x" * 1000)
    room.settle(made)
    return made


def model(job: Job, name: str, place: str) -> Model:
    path = str(job.folder() / place)
    return Model.objects.create(name=name, kind="llm", engine="llm_transformers", path=path)


def there(job: Job) -> list[str]:
    return sorted(one.name for one in (job.folder() / "checkpoints").glob("*"))


def held(job: Job) -> bool:
    return quotas.is_held(files.STORAGE, room.holder(job))


def test_a_job_goes_with_all_that_it_left(job: Job, who: Principal) -> None:
    export = Export.objects.create(job=job, kind="gguf", state="ready")
    files.reserve(who, export.holder, 500)
    assert held(job)
    name = str(job)
    retention.remove(job, who)
    assert not job.folder().exists()
    assert not Job.objects.filter(pk=job.pk).exists()
    assert not held(job)
    assert not quotas.is_held(files.STORAGE, export.holder)
    assert AuditRow.objects.filter(action="job.remove", object_name=name).count() == 1


def test_a_model_of_the_catalog_keeps_its_job(job: Job, who: Principal) -> None:
    row = model(job, "ft:base:red::1", "result")
    with pytest.raises(Conflict, match="ft:base:red::1"):
        retention.remove(job, who)
    assert (job.folder() / "result").is_dir()
    row.delete()
    retention.remove(job, who)
    assert not job.folder().exists()


@pytest.mark.parametrize("state", [State.QUEUED, State.RUNNING, State.PAUSED, State.REGISTERING])
def test_one_that_is_not_over_is_cancelled_first(job: Job, who: Principal, state: State) -> None:
    Job.objects.filter(pk=job.pk).update(state=state)
    job.refresh_from_db()
    with pytest.raises(Conflict, match="cancel it first"):
        retention.remove(job, who)
    assert (job.folder() / "result").is_dir()
    assert held(job)


def test_one_whose_process_still_ends_is_left(job: Job, who: Principal) -> None:
    with processes.alone(job.folder()), pytest.raises(Conflict, match="still ending"):
        retention.remove(job, who)
    retention.remove(job, who)


def test_whoever_may_only_look_removes_nothing(job: Job) -> None:
    stranger = User.objects.create(username="sam", role="viewer")
    with pytest.raises(PermissionDenied):
        retention.remove(job, principals.of_user(stranger))
    assert (job.folder() / "result").is_dir()


def test_it_is_removed_by_api_and_page(job: Job, client: Client) -> None:
    client.force_login(User.objects.get(username="trina"))
    client.get(f"/training/about/{job.pk}/")
    headers = {"X-CSRFToken": client.cookies["csrftoken"].value}
    row = model(job, "kept", "result")
    answer = client.delete(f"/api/v1/training/jobs/{job.pk}", headers=headers)
    assert answer.status_code == 409, answer.content
    page = client.post(f"/training/remove/{job.pk}/", follow=True)
    assert page.redirect_chain[-1][0].endswith(f"/training/about/{job.pk}/")
    assert "kept" in page.content.decode()
    row.delete()
    answer = client.delete(f"/api/v1/training/jobs/{job.pk}", headers=headers)
    assert answer.status_code == 204, answer.content
    assert client.get(f"/api/v1/training/jobs/{job.pk}").status_code == 404


def test_checkpoints_go_after_their_days_but_not_those_that_are_models(
    job: Job, settings: Settings
) -> None:
    model(job, "kept", "checkpoints/step-00000002")
    settings.HUB_CHECKPOINT_DAYS = 11
    retention.sweep()
    assert len(there(job)) == 2
    settings.HUB_CHECKPOINT_DAYS = 9
    retention.sweep()
    assert there(job) == ["step-00000002"]
    assert (job.folder() / "result").is_dir()
    assert job.events.get().message == "1 checkpoints were removed, 9 days after its end."
    held_bytes = quotas.standing(quotas.Bearer(None, job.team_id), files.STORAGE)[0].used
    assert held_bytes == 2000


@pytest.mark.parametrize("state", [State.RUNNING, State.PAUSED])
def test_a_job_that_may_go_on_keeps_its_checkpoints(
    job: Job, settings: Settings, state: State
) -> None:
    settings.HUB_CHECKPOINT_DAYS = 1
    Job.objects.filter(pk=job.pk).update(state=state)
    retention.sweep()
    assert len(there(job)) == 2


def test_zero_days_keep_all(job: Job, settings: Settings) -> None:
    settings.HUB_CHECKPOINT_DAYS = 0
    Job.objects.update(ended_at=timezone.now() - dt.timedelta(days=3000))
    retention.sweep()
    assert len(there(job)) == 2


def test_folders_that_no_row_leads_to_go_unless_a_model_lies_there(job: Job) -> None:
    row = model(job, "kept", "result")
    Job.objects.all().delete()
    retention.sweep()
    assert (job.folder() / "result").is_dir()
    row.delete()
    retention.sweep()
    assert not job.folder().exists()


def test_what_lay_there_before_it_was_counted_is_counted(job: Job) -> None:
    quotas.release(files.STORAGE, room.holder(job))
    retention.sweep()
    assert held(job)
