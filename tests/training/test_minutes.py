"""Minutes of training: a quota holds while jobs run, side by side, over pauses and new attempts."""

import datetime as dt
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.db import connection
from django.db.models import Sum
from django.utils import timezone, translation
from pytest_django import Settings

from accounts import principals, quotas
from accounts.models import Holding, Limit, User, default_team_id
from hub.dashboard import event_words
from inference.errors import RateLimited
from inference.models import Model
from tests.training import jobs as real
from training import contract, jobs, minutes, settling, states, supervising
from training.models import Attempt, DataSet, DataSetVersion, Job

State = Job.State
pytestmark = pytest.mark.django_db(transaction=True)
TEAM_MINUTES = 5


@pytest.fixture(name="version")
def _version(settings: Settings, tmp_path: Path) -> DataSetVersion:
    settings.HUB_DATA = tmp_path
    data_set = DataSet.objects.create(name="foxes", team_id=default_team_id())
    known: dict[str, Any] = {"format": "chat", "train_rows": 8, "characters": 4_000}
    return DataSetVersion.objects.create(data_set=data_set, number=1, state="ready", **known)


def limit(amount: int) -> None:
    subject = f"team:{default_team_id()}"
    Limit.objects.update_or_create(subject=subject, defaults={"training_minutes": amount})


def job(version: DataSetVersion, state: State = State.RUNNING, **fields: Any) -> Job:
    known = {"base": "tiny", "training_type": "lora", "team_id": version.data_set.team_id}
    return Job.objects.create(**known | fields, version=version, state=state)


def attempt(made: Job, took_s: float | None = None) -> Attempt:
    """Begin one or, where it is said how long it took, add one that has ended."""
    row = Attempt.objects.create(job=made, number=made.attempts.count() + 1)
    if took_s is not None:
        begun = timezone.now() - dt.timedelta(hours=1)
        ended = begun + dt.timedelta(seconds=took_s)
        Attempt.objects.filter(pk=row.pk).update(started_at=begun, ended_at=ended)
        quotas.reserve(quotas.Bearer(None, made.team_id), minutes.KIND, 0, minutes.holder(row))
    return row


def held() -> int:
    found = Holding.objects.filter(kind=minutes.KIND).aggregate(sum=Sum("amount"))["sum"]
    return found or 0


def spend(meter: minutes.Meter) -> None:
    """Train on until no minute is left."""
    meter.begin()
    for ahead in range(1, 3 * TEAM_MINUTES):
        meter.extend(ahead * minutes.MINUTE_S)


def test_jobs_side_by_side_never_hold_more_than_there_is(version: DataSetVersion) -> None:
    limit(TEAM_MINUTES)
    refused, start = list[str](), threading.Barrier(4)

    def train() -> None:
        row = attempt(job(version))
        start.wait()
        try:
            spend(minutes.Meter(row))
        except quotas.QuotaReached as reached:
            refused.append(str(reached))
        finally:
            connection.close()

    threads = [threading.Thread(target=train) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held() == TEAM_MINUTES
    assert len(refused) == 4
    assert all("5 minutes of training in 30 days, of which 0 are left" in one for one in refused)


def test_an_attempt_that_may_not_go_on_is_over_before_its_last_minute_is(
    version: DataSetVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(1)
    meter = minutes.Meter(attempt(job(version)))
    meter.begin()
    assert not meter.is_over
    with pytest.raises(quotas.QuotaReached):
        meter.extend(minutes.MINUTE_S)
    monkeypatch.setattr(minutes, "END_S", minutes.MINUTE_S)
    assert meter.is_over


def test_minutes_of_all_attempts_together_are_rounded_once(version: DataSetVersion) -> None:
    made = job(version)
    for took_s in (30, 20, 5, 10):
        attempt(made, took_s)
    minutes.settle(made)
    assert held() == 2  # 65 s


def test_the_first_minute_of_a_job_that_waits_becomes_its_attempts(version: DataSetVersion) -> None:
    limit(1)
    made = job(version, State.QUEUED)
    minutes.book(made)
    with pytest.raises(RateLimited, match="of which 0 are left"):
        minutes.book(job(version, State.QUEUED))
    minutes.Meter(attempt(made)).begin()
    assert held() == 1


def test_a_pause_gives_back_what_was_not_trained(version: DataSetVersion) -> None:
    made = job(version)
    row = attempt(made)
    minutes.Meter(row).begin()
    minutes.Meter(row).extend(10 * minutes.MINUTE_S)
    assert held() > 1
    Attempt.objects.filter(pk=row.pk).update(ended_at=row.started_at + dt.timedelta(seconds=61))
    states.move(made, {State.RUNNING}, State.PAUSED)
    assert held() == 2


def test_what_was_trained_a_month_ago_is_forgotten_job_or_not(version: DataSetVersion) -> None:
    limit(3)
    made = job(version)
    attempt(made, 170)
    minutes.settle(made)
    assert held() == 3
    Holding.objects.update(at=timezone.now() - dt.timedelta(days=31))
    minutes.Meter(attempt(made)).begin()


def test_it_asks_so_early_that_a_long_step_can_end(version: DataSetVersion) -> None:
    slow = job(version, steps=20, step=10, eta_s=300.0)
    assert minutes.lead_s(slow) == 2 * 30 + minutes.LEAD_S
    assert minutes.lead_s(job(version)) == minutes.LEAD_S


# --- what becomes of the job ----------------------------------------------------------------------


def spent(version: DataSetVersion, state: State) -> Job:
    """Make a job of a team that has trained all its minutes."""
    limit(1)
    other = job(version, State.SUCCEEDED)
    attempt(other, 60)
    minutes.settle(other)
    return job(version, state, recipe={"learning_rate": 1e-3}, estimate_bytes=2**20)


@pytest.mark.usefixtures("idle_node")
def test_a_job_whose_turn_comes_too_late_pauses_and_says_why(
    version: DataSetVersion, tmp_path: Path
) -> None:
    place = real.tiny_base(tmp_path / "tiny")
    Model.objects.create(name="tiny", kind="llm", engine="llm_transformers", path=str(place))
    made = spent(version, State.QUEUED)
    supervising.supervise(made.pk, threading.Event())
    made.refresh_from_db()
    assert (made.state, made.error_code) == (State.PAUSED, minutes.SPENT)
    assert "quota of this team is 1 minutes" in made.reason
    assert not made.attempts.exists()
    assert held() == 1


def test_nobody_resumes_it_before_there_are_minutes_again(version: DataSetVersion) -> None:
    made = spent(version, State.PAUSED)
    who = principals.of_user(User.objects.create(username="ann", role="admin"))
    with pytest.raises(RateLimited, match="of which 0 are left"):
        jobs.resume(made, who)
    made.refresh_from_db()
    assert made.state == State.PAUSED
    limit(2)
    assert jobs.resume(made, who).state == State.QUEUED
    assert held() == 2


@pytest.mark.parametrize("told", [True, False], ids=["by itself", "ended"])
def test_a_job_that_ran_out_of_minutes_keeps_the_reason(
    version: DataSetVersion, told: bool
) -> None:
    told_before = {"error_code": minutes.SPENT, "reason": "The quota is 1.", "wish": "pause"}
    made = job(version, State.PAUSING, **told_before)
    made.folder().mkdir(parents=True)
    attempt(made)
    if told:
        event = contract.PausedEvent(step=3, code="asked", message="paused after step 3")
        event.attempt = event.seq = 1
        (made.folder() / contract.EVENTS).write_bytes(msgspec.json.encode(event) + b"\n")
    settling.settle(made)
    made.refresh_from_db()
    assert (made.state, made.reason, made.deaths) == (State.PAUSED, "The quota is 1.", 0)


@pytest.mark.parametrize("whose", ["user", "team"])
def test_the_pages_say_why_in_the_visitors_language(whose: str) -> None:
    reached = quotas.QuotaReached(minutes.KIND, whose, 60, 0)
    reason = minutes.reason(reached)
    assert "of 60 in 30 days 0 are left" in event_words.words(reason)
    with translation.override("vi"):
        assert "trong 60 phút của 30 ngày còn 0" in event_words.words(reason)
        assert "trong 60 phút" in event_words.words(str(reached))
