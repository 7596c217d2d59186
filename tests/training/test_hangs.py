"""A process that hangs after its worker has gone is noticed by the next one."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from accounts.models import default_team_id
from training import contract, processes, silence, supervising
from training.models import Attempt, DataSet, DataSetVersion, Job
from training.run.spool import Spool

pytestmark = pytest.mark.django_db(transaction=True)
SLEEPS = "import time; time.sleep(600)"
Process = subprocess.Popen[bytes]


@pytest.fixture(name="job")
def _job(settings: Settings, tmp_path: Path) -> Job:
    settings.HUB_DATA = tmp_path
    data_set = DataSet.objects.create(name="foxes", team_id=default_team_id())
    version = DataSetVersion.objects.create(data_set=data_set, number=1)
    known = {"version": version, "team_id": data_set.team_id}
    made = Job.objects.create(base="tiny", training_type="lora", state=Job.State.RUNNING, **known)
    made.folder().mkdir(parents=True)
    return made


@pytest.fixture(name="orphan")
def _orphan(job: Job) -> Iterator[Process]:
    """It holds the lock of the job's folder, and nobody supervises it."""
    with processes.alone(job.folder()) as lock:
        assert lock is not None
        words = [sys.executable, "-c", SLEEPS, str(job.folder() / contract.JOB)]
        made = subprocess.Popen(words, pass_fds=(lock.fileno(),), process_group=0)
    Attempt.objects.create(job=job, number=1, pid=made.pid)
    yield made
    made.kill()
    made.wait()


def look(job: Job, pulse: silence.Pulse, times: int = 400) -> bool:
    return any(silence.end_orphan(job.pk, pulse) for _ in range(times))


def test_what_a_worker_left_behind_and_hangs_is_ended(
    job: Job, orphan: Process, settings: Settings
) -> None:
    settings.HUB_TRAINING_HANG_TIMEOUT_S = 0.05
    assert not supervising.supervise(job.pk, threading.Event())
    pulse = silence.Pulse(job.folder())
    while not silence.end_orphan(job.pk, pulse):
        assert orphan.poll() is None
    orphan.wait(10)
    told = job.events.get()
    assert (told.level, told.data) == ("warn", {"code": silence.CODE})
    with processes.alone(job.folder()) as lock:
        assert lock is not None


def test_one_that_speaks_goes_on(job: Job, orphan: Process, settings: Settings) -> None:
    settings.HUB_TRAINING_HANG_TIMEOUT_S = 1
    pulse = silence.Pulse(job.folder())
    with Spool(job.folder(), 1, None) as spool:
        for step in range(20):
            spool.emit(contract.HeartbeatEvent(step=step, memory_bytes=1))
            assert not silence.end_orphan(job.pk, pulse)
    assert orphan.poll() is None


def test_another_process_of_the_same_number_is_left_alone(job: Job, settings: Settings) -> None:
    settings.HUB_TRAINING_HANG_TIMEOUT_S = 0.001
    bystander = subprocess.Popen([sys.executable, "-c", SLEEPS], process_group=0)
    try:
        Attempt.objects.create(job=job, number=1, pid=bystander.pid)
        assert not look(job, silence.Pulse(job.folder()))
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
