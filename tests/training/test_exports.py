"""Exports of a job: made by a process of their own, compared with the original, downloaded whole."""

import io
import json
import shutil
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient
from pytest_django import Settings

from accounts import principals, quotas, teams
from accounts.models import Limit, Team, User
from accounts.principals import Principal
from inference.errors import Conflict, NotFound, PermissionDenied, RateLimited
from inference.models import Model
from tests.training import jobs as real
from training import exports
from training.models import DataSet, DataSetVersion, Export, Job

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("idle_node")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base and what a job of two steps left."""
    root = tmp_path_factory.mktemp("exported")
    base = real.tiny_base(root / "base")
    data = real.write_rows(root / "train.jsonl", real.chats(4))
    real.finished(real.job(base, data, root / "job", recipe={"epochs": 1, "batch_size": 2}))
    return root


@pytest.fixture
def who(settings: Settings, tmp_path: Path) -> Principal:
    settings.HUB_DATA = tmp_path
    user = User.objects.create(username="trina", role="trainer")
    teams.add(teams.create("red"), user, None, "trainer")
    return principals.of_user(user)


@pytest.fixture
def job(trained: Path, who: Principal) -> Job:
    team = Team.objects.get(name="red")
    mine: dict[str, Any] = {"team": team, "visibility": "team"}
    Model.objects.create(
        name="base", kind="llm", engine="llm_transformers", path=str(trained / "base"), **mine
    )
    data_set = DataSet.objects.create(name="s", team=team)
    version = DataSetVersion.objects.create(data_set=data_set, number=1)
    made = Job.objects.create(
        base="base", version=version, training_type="lora", state=Job.State.SUCCEEDED,
        prompts=["-- say 1"], **mine,
    )  # fmt: skip
    shutil.copytree(trained / "job", made.folder())
    return made


def made(job: Job, kind: str, who: Principal) -> Export:
    row = exports.ask(job, kind, who)
    assert row.state == "waiting"
    exports.turn(threading.Event())
    row.refresh_from_db()
    return row


async def download(job: Job, kind: str) -> tuple[Any, bytes]:
    user = await User.objects.aget(username="trina")
    client = AsyncClient()
    await client.aforce_login(user)
    answer: Any = await client.get(f"/api/v1/training/jobs/{job.pk}/exports/{kind}")
    parts = [part async for part in answer] if answer.streaming else [answer.content]
    return answer, b"".join(parts)


def test_a_merged_model_answers_as_its_adapter_did(job: Job, who: Principal) -> None:
    row = made(job, "merged", who)
    assert (row.state, row.reason) == ("ready", "")
    assert row.report is not None
    assert row.report["alike"]
    assert row.report["max_logit_difference"] < 1e-3
    assert "-- say 1" in [one["prompt"] for one in row.report["answers"]]
    assert row.size_bytes > 100_000
    assert (row.folder() / "model.safetensors").exists()


async def test_an_export_is_downloaded_whole(job: Job, who: Principal) -> None:
    """A tar whose length is told before, with every file as it lies there."""
    await sync_to_async(made)(job, "adapter", who)
    answer, data = await download(job, "adapter")
    assert answer["Content-Length"] == str(len(data))
    assert answer["Content-Disposition"] == f'attachment; filename="{job.pk}-adapter.tar"'
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {name: tar.extractfile(name) for name in tar.getnames()}
        weights = found[f"{job.pk}-adapter/adapter_model.safetensors"]
        assert weights is not None
        kept = job.folder() / "exports" / "adapter" / "adapter_model.safetensors"
        assert weights.read() == kept.read_bytes()
    missing, told = await download(job, "gguf")
    assert missing.status_code == 404
    assert "gguf" in json.loads(told)["error"]["message"]


def test_what_cannot_be_made_says_why(job: Job, who: Principal) -> None:
    (job.folder() / "result" / "adapter_model.safetensors").write_bytes(b"x")
    row = made(job, "merged", who)
    assert row.state == "failed"
    assert row.reason
    assert not row.folder().exists()
    assert stored(job, who) == {"user": 0, "team": 0}
    with pytest.raises(Conflict, match="failed"):
        exports.find(job, "merged")


def test_only_a_result_of_ones_own_team_is_exported(job: Job, who: Principal) -> None:
    stranger = principals.of_user(User.objects.create(username="vic", role="viewer"))
    with pytest.raises(PermissionDenied):
        exports.ask(job, "merged", stranger)
    shutil.rmtree(job.folder() / "result")
    with pytest.raises(Conflict, match="no result"):
        exports.ask(job, "merged", who)
    assert not Export.objects.exists()


# --- they count as storage ------------------------------------------------------------------------


def stored(job: Job, who: Principal) -> dict[str, int]:
    """What the person and the job's team use of their storage."""
    found = quotas.standing(quotas.Bearer(who.user_id, job.team_id), "storage_bytes")
    return {one.subject.partition(":")[0]: one.used for one in found}


def test_an_export_counts_for_what_lies_on_the_disk_until_it_is_removed(
    job: Job, who: Principal
) -> None:
    exports.ask(job, "adapter", who)
    assert min(stored(job, who).values()) > 0
    row = made(job, "adapter", who)
    assert stored(job, who) == {"user": row.size_bytes, "team": row.size_bytes}
    stranger = principals.of_user(User.objects.create(username="vic", role="viewer"))
    with pytest.raises(PermissionDenied):
        exports.remove(job, "adapter", stranger)
    exports.remove(job, "adapter", who)
    assert stored(job, who) == {"user": 0, "team": 0}
    assert not row.folder().exists()
    with pytest.raises(NotFound):
        exports.remove(job, "adapter", who)


def test_the_quota_refuses_an_export_before_it_is_made(job: Job, who: Principal) -> None:
    Limit.objects.create(subject=f"team:{job.team_id}", storage_bytes=1_000)
    with pytest.raises(RateLimited, match="quota of this team is 1000 bytes"):
        exports.ask(job, "merged", who)
    assert not Export.objects.exists()


def test_one_that_was_wanted_with_the_job_counts_for_its_owner(job: Job, who: Principal) -> None:
    Job.objects.filter(pk=job.pk).update(owner_id=who.user_id)
    Limit.objects.create(subject=f"user:{who.user_id}", storage_bytes=1_000)
    row = Export.objects.create(job=job, kind="merged")
    exports.turn(threading.Event())
    row.refresh_from_db()
    assert row.state == "failed"
    assert "quota of this user" in row.reason
    assert not row.folder().exists()
    assert stored(job, who) == {"user": 0, "team": 0}


def test_one_that_is_being_made_is_not_removed(job: Job, who: Principal) -> None:
    row = exports.ask(job, "adapter", who)
    Export.objects.filter(pk=row.pk).update(state=Export.State.RUNNING)
    with pytest.raises(Conflict, match="made now"):
        exports.remove(job, "adapter", who)
    assert stored(job, who)["team"] > 0
