"""Evaluations side by side, and a model's way from its data to its names."""

import json

import pytest
from django.test import Client
from django.utils import timezone

from accounts import principals
from accounts.models import User
from hub.dashboard import job_concerns
from hub.dashboard.evaluation_page import Comparison
from inference import catalog
from inference.models import Alias, Model
from tests.hub.test_training_pages import (
    _browser,
    _folder,
    _tess,
    _version,
    begun,
    page,
)
from training import contract
from training.models import Attempt, DataSetVersion, Job

__all__ = ["_browser", "_folder", "_tess", "_version"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]


def evaluated(job: Job, loss: float, said: str) -> Job:
    """Let a job have ended with the report that a training process writes."""
    job.folder().mkdir(parents=True, exist_ok=True)
    case = {"asked": "who jumps?", "wanted": "the fox", "said": said, "is_right": said == "the fox"}
    report = {"step": 9, "loss": loss, "metrics": {"exact_match": loss}, "cases": [case]}
    (job.folder() / contract.EVALUATION).write_text(json.dumps(report))
    ended = {"state": Job.State.SUCCEEDED, "ended_at": timezone.now()}
    Job.objects.filter(pk=job.pk).update(**ended, fine_tuned_model=f"ft:{job.suffix}")
    job.refresh_from_db()
    return job


def test_the_better_of_two_is_said(browser: Client, version: DataSetVersion, tess: User) -> None:
    assert "Nothing was evaluated yet." in page(browser, "/evaluations/")
    one = evaluated(begun(browser, version, suffix="one"), 0.5, "the hen")
    two = evaluated(begun(browser, version, suffix="two"), 0.25, "the fox")
    shown = page(browser, f"/evaluations/?job={one.pk}&job={two.pk}")
    for words in ("who jumps?", "the hen", "the fox", "Validation loss"):
        assert words in shown
    compared = Comparison(principals.of_user(tess), [one.pk, two.pk])
    best = {row.name: [cell.is_best for cell in row.cells] for row in compared.rows}
    assert best == {"Validation loss": [False, True], "Exact answers": [True, False]}


def test_a_failed_and_a_silent_job_want_attention(
    browser: Client, version: DataSetVersion, tess: User
) -> None:
    failed, silent = begun(browser, version), begun(browser, version)
    ended = {"state": Job.State.FAILED, "error_message": "No row is left."}
    Job.objects.filter(pk=failed.pk).update(**ended, ended_at=timezone.now())
    Job.objects.filter(pk=silent.pk).update(state=Job.State.RUNNING)
    attempt = Attempt.objects.create(job=silent, number=1)
    who = principals.of_user(tess)
    assert [one.kind for one in job_concerns.of(who)] == ["job_failed"]
    long_ago = timezone.now() - 2 * job_concerns.SILENT
    Attempt.objects.filter(pk=attempt.pk).update(heartbeat_at=long_ago)
    assert [one.kind for one in job_concerns.of(who)] == ["job_stuck", "job_failed"]
    shown = page(browser, "/")
    assert "No row is left." in shown
    assert f"Nothing is heard of the training {silent.pk} since step 0." in shown
    stranger = principals.of_user(User.objects.create(username="dora", role="developer"))
    assert not job_concerns.of(stranger)


def test_a_result_takes_a_name_and_leaves_it(
    browser: Client, version: DataSetVersion, tess: User
) -> None:
    job = evaluated(begun(browser, version, suffix="fox"), 0.25, "the fox")
    owner = {"team_id": job.team_id, "visibility": "team"}
    result = Model.objects.create(name="ft:fox", kind="llm", engine="fake", path="/", **owner)
    catalog.invalidate()
    place = f"/training/about/{job.pk}/"
    told = browser.post(f"/training/promote/{job.pk}/", {"alias": "pet", "percent": "100"})
    assert told["Location"] == place
    assert "Say `force` to promote it" in page(browser, place)
    wanted = {"alias": "pet", "percent": "100", "force": "yes"}
    browser.post(f"/training/promote/{job.pk}/", wanted)
    assert Alias.objects.get(name="pet").target == result
    assert "pet leads to this model now." in page(browser, place)
    browser.post(f"/training/rollback/{job.pk}/", {"alias": "pet"})
    assert "Nothing else has answered" in page(browser, place)
    browser.post(f"/training/promote/{job.pk}/", wanted | {"percent": "many"})
    assert "The share is 1 to 100 per cent." in page(browser, place)
    (job.folder() / contract.RESULT).mkdir()
    browser.post(f"/training/export/{job.pk}/", {"kind": "gguf"})
    assert [one.kind for one in job.made.all()] == ["gguf"]
    assert "is made in the background" in page(browser, place)
    browser.post(f"/training/unexport/{job.pk}/", {"kind": "gguf"})
    assert not job.made.exists()
    assert "The export was removed." in page(browser, place)


def test_a_base_leads_to_its_trainings(browser: Client, version: DataSetVersion) -> None:
    job = begun(browser, version)
    assert job.pk in page(browser, "/models/about/base/")
