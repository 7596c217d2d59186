"""What becomes of a job whose attempt has ended, by its own word, by its exit code, or by neither."""

from pathlib import Path

import msgspec
import pytest
from pytest_django import Settings

from accounts import principals
from accounts.models import User, default_team_id
from hub.dashboard.job_page import JobPage
from inference.errors import Conflict
from training import contract, jobs, oom, settling
from training.models import Attempt, DataSet, DataSetVersion, Job

pytestmark = pytest.mark.django_db
State = Job.State
RECIPE = {"batch_size": 1, "gradient_accumulation": 1}


@pytest.fixture(name="job")
def _job(settings: Settings, tmp_path: Path) -> Job:
    """One that runs."""
    settings.HUB_DATA = tmp_path
    data_set = DataSet.objects.create(name="foxes", team_id=default_team_id())
    version = DataSetVersion.objects.create(data_set=data_set, number=1, address="c" * 64)
    known = {"version": version, "team_id": data_set.team_id, "recipe": RECIPE}
    made = Job.objects.create(base="tiny", training_type="lora", state=State.RUNNING, **known)
    made.folder().mkdir(parents=True)
    return made


def attempt(job: Job, *told: contract.Event, pid: int | None = 7, code: int | None = None) -> None:
    number = job.attempts.count() + 1
    Attempt.objects.create(job=job, number=number, pid=pid, exit_code=code)
    with (job.folder() / contract.EVENTS).open("ab") as spool:
        for event in told:
            event.attempt, event.seq = number, number
            spool.write(msgspec.json.encode(event) + b"\n")


def settled(job: Job) -> Job:
    settling.settle(job)
    job.refresh_from_db()
    return job


def test_a_process_that_could_not_write_why_it_paused_waits_for_the_disk(job: Job) -> None:
    attempt(job, code=contract.PAUSED)
    assert settled(job).state == State.PAUSED
    assert (job.error_code, job.deaths) == ("disk_full", 0)
    assert "Disk full" in job.reason


def test_a_process_that_could_not_write_that_memory_ran_out_is_believed(job: Job) -> None:
    attempt(job, code=contract.OUT_OF_MEMORY)
    assert settled(job).state == State.FAILED
    assert (job.error_code, job.error_message) == ("out_of_memory", "Memory ran out.")


@pytest.mark.parametrize(
    ("code", "before", "told"),
    [(-9, 2, contract.OUT_OF_MEMORY), (-9, 3, -9), (-15, 2, -15), (0, 2, 0)],
    ids=["for memory", "by a person", "another signal", "well"],
)
def test_an_end_by_the_kernel_for_want_of_memory_is_told_from_others(
    code: int, before: int, told: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert oom.kills() >= 0
    counts = tmp_path / "vmstat"
    counts.write_text("pgfault 9\noom_kill 3\n")
    monkeypatch.setattr(oom, "COUNTS", counts)
    assert oom.exit_code(code, before) == told


def test_a_pause_that_a_person_asked_for_outlasts_a_full_disk(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(state=State.PAUSING, wish="pause")
    attempt(job, contract.PausedEvent(step=3, code="disk_full", message="no room"))
    assert settled(job).state == State.PAUSED
    assert (job.error_code, job.reason) == ("", "no room.")


def test_a_full_disk_is_forgotten_when_a_person_goes_on(job: Job) -> None:
    """A pause after that is theirs: it does not end because there is room."""
    attempt(job, contract.PausedEvent(step=3, code="disk_full", message="no room"))
    assert settled(job).error_code == "disk_full"
    jobs.resume(job, principals.of_user(User.objects.create(username="ann", role="admin")))
    job.refresh_from_db()
    assert (job.state, job.error_code) == (State.QUEUED, "")


def test_a_worker_that_dies_while_it_takes_memory_back_fails_no_job(job: Job) -> None:
    """The process was told to end, and the one who knew why has gone."""
    attempt(job, contract.FailedEvent(code="cancelled", message="the job was cancelled"))
    assert settled(job).state == State.QUEUED
    assert job.error_code == ""


def test_a_worker_that_dies_before_the_process_began_counts_as_no_death(job: Job) -> None:
    for _ in range(settling.MOST_DEATHS):
        Job.objects.filter(pk=job.pk).update(state=State.STARTING)
        attempt(job, pid=None)
        assert settled(job).state == State.QUEUED
    assert job.deaths == 0


def test_a_process_that_dies_again_and_again_without_progress_fails(job: Job) -> None:
    for state in (*[State.QUEUED] * (settling.MOST_DEATHS - 1), State.FAILED):
        Job.objects.filter(pk=job.pk).update(state=State.RUNNING)
        attempt(job, code=-9)
        assert settled(job).state == state
    assert job.error_code == "training_crashed"


def test_a_result_that_is_being_registered_is_not_cancelled(job: Job) -> None:
    """No model comes of a cancelled job, and of this one some may answer already."""
    who = principals.of_user(User.objects.create(username="ann", role="admin"))
    Job.objects.filter(pk=job.pk).update(state=State.REGISTERING)
    job.refresh_from_db()
    with pytest.raises(Conflict, match="remove that model"):
        jobs.cancel(job, who)
    job.refresh_from_db()
    assert job.state == State.REGISTERING
    assert "cancel" not in JobPage(job, who).acts
