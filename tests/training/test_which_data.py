"""Which version a training learns from, and which guard set goes with it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client

from accounts import keys
from accounts.models import User
from accounts.principals import Principal
from inference.errors import HubError
from tests.training import test_plans
from training import claims, jobs
from training.after import After
from training.models import DataSetVersion, Job
from training.recipes import facts

who, wanted = test_plans.who, test_plans.wanted  # fixtures


@pytest.fixture
def api(who: Principal, wanted: jobs.Wanted) -> Client:
    user = User.objects.get(pk=who.user_id)
    scopes, team = ("training:*", "datasets:read"), wanted.version.data_set.team
    key = keys.issue(user, "k", scopes, by=who, team=team)[1]
    return Client(headers={"x-api-key": key})


def drafted(api: Client, **more: Any) -> Any:
    fields = {"base_model": "base", "dataset": "s", "training_type": "lora", "draft": True, **more}
    body = json.dumps(fields)
    return api.post("/api/v1/training/start", body, content_type="application/json")


def another(version: DataSetVersion, format_: str = "chat") -> DataSetVersion:
    """The next one of the same set."""
    fields = {"state": "ready", "format": format_, "train_rows": 8, "characters": 4_000}
    return DataSetVersion.objects.create(
        data_set=version.data_set, number=version.number + 1, address="b" * 64, **fields
    )


def test_the_newest_version_is_taken_or_the_one_that_was_named(
    api: Client, wanted: jobs.Wanted
) -> None:
    newer = another(wanted.version)
    for more, version in (
        ({}, newer),
        ({"dataset_version": 1}, wanted.version),
        ({"dataset_version": 2}, newer),
    ):
        answer = drafted(api, **more)
        assert answer.status_code == 202, answer.content
        assert Job.objects.get(pk=answer.json()["id"]).version == version
    assert drafted(api, dataset_version=3).status_code == 404
    assert drafted(api, dataset_version=0).status_code == 400


def test_a_guard_set_of_another_format_is_refused_at_once(
    who: Principal, wanted: jobs.Wanted
) -> None:
    guard = another(wanted.version, "text")
    with pytest.raises(HubError, match="has the format text, the data chat") as refused:
        jobs.submit(replace(wanted, after=After(guard=guard)), who)
    assert refused.value.param == "guard"
    assert not Job.objects.exists()


def test_a_guard_set_is_compared_once_the_data_is_checked(
    who: Principal, wanted: jobs.Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not checked yet has no format: the job fails as soon as it has one."""
    guard, version = another(wanted.version, "text"), wanted.version
    monkeypatch.setattr(claims, "machine", facts.Machine)  # no node here
    DataSetVersion.objects.filter(pk=version.pk).update(state="waiting", format="")
    version.refresh_from_db()
    job = jobs.submit(replace(wanted, after=After(guard=guard)), who)
    DataSetVersion.objects.filter(pk=version.pk).update(state="ready", format="chat")
    jobs.prepare(Job.objects.get(pk=job.pk))
    job.refresh_from_db()
    assert (job.state, job.error_code) == ("failed", "invalid_value")
    assert "guard set has the format text" in job.error_message
