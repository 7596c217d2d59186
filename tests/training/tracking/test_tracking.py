"""A job in MLflow: all of it, each figure once, whatever happened to the tracker."""

import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.tracking.conftest import STEPS, Make
from tests.training.tracking.mlflows import Store, Trackers
from training import contract
from training.tracking import __main__ as tracking
from training.tracking import bookmark, figures


@pytest.fixture
def job(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "job"))


@pytest.fixture
def store(empty_store: Store, tmp_path: Path) -> Store:
    return empty_store.copy(tmp_path / "mlflow")


@pytest.fixture(scope="module")
def undisturbed(
    trackers: Trackers, trained: Path, empty_store: Store, tmp_path_factory: Make
) -> Store:
    folder = tmp_path_factory.mktemp("undisturbed")
    job = shutil.copytree(trained, folder / "job")
    made = empty_store.copy(folder / "mlflow")
    assert trackers.run(made, Path(job)) == tracking.WRITTEN
    return made


def test_it_keeps_one_run_with_each_step_once(trained: Path, undisturbed: Store) -> None:
    told = Counter(
        event.step
        for event in contract.read_events(trained)
        if isinstance(event, contract.StepEvent)
    )
    assert max(told.values()) > 1
    steps = [step for key, step, _ in undisturbed.rows("metrics") if key == "loss"]
    assert steps == list(range(1, STEPS + 1))
    evaluated = [step for key, step, _ in undisturbed.rows("metrics") if key == "eval_loss"]
    assert evaluated == [6, 12, 18]
    assert undisturbed.rows("runs") == [("job-1", "FINISHED")]


def test_it_keeps_few_parameters_and_the_lineage(undisturbed: Store) -> None:
    params = dict(undisturbed.rows("params"))
    assert 30 < len(params) < figures.MOST_PARAMETERS
    assert params["rank"] == "16"
    assert len(params["data_sha256"]) == len(params["base_sha256"]) == 64
    tags = dict(undisturbed.rows("tags"))
    assert (tags["hub.job"], tags["hub.data_set"], tags["hub.attempt"]) == ("job-1", "ds-1", "2")


def test_it_keeps_what_was_made(undisturbed: Store) -> None:
    files = {name.removeprefix("artifacts/") for name in undisturbed.content()["files"]}
    wanted = {"environment.txt", "evaluation.json", "job.json", "plan.json", "record.json"}
    wanted |= {"samples.jsonl", "data_set/report.json", "result/adapter_model.safetensors"}
    assert wanted <= files
    samples = next(undisturbed.artifacts.rglob("samples.jsonl")).read_text().splitlines()
    assert len(samples) == len(set(samples)) == 3
    assert undisturbed.rows("aliases") == [("fox", "candidate", 1)]


def _any(table: str) -> Callable[[Store], bool]:
    return lambda store: bool(store.rows(table))


MOMENTS: dict[str, Callable[[Store], bool]] = {
    "run": _any("runs"),
    "params": _any("params"),
    "metrics": _any("metrics"),
    "files": lambda store: any(store.artifacts.rglob("record.json")),
    "result": lambda store: any(store.artifacts.rglob("adapter_model.safetensors")),
    "version": _any("versions"),
    "alias": _any("aliases"),
}


def test_killed_after_each_write_it_writes_nothing_twice(
    trackers: Trackers, job: Path, store: Store, undisturbed: Store
) -> None:
    killed = 0
    for happened in MOMENTS.values():
        pid = trackers.start(store, job)
        deadline_s = time.monotonic() + 60
        while not happened(store) and time.monotonic() < deadline_s:
            time.sleep(0.005)
        os.kill(pid, signal.SIGKILL)
        killed += trackers.ended() == -signal.SIGKILL
    assert killed >= len(MOMENTS) - 1  # at the last moment it may have ended
    assert trackers.run(store, job) == tracking.WRITTEN
    assert store.content() == undisturbed.content()
    assert not bookmark.is_behind(job)


def test_a_tracker_that_was_away_catches_up(
    trackers: Trackers, trained: Path, job: Path, store: Store, undisturbed: Store
) -> None:
    """It sees the spool in three parts, the first two torn within a line."""
    whole = (trained / contract.EVENTS).read_bytes()
    for size in (len(whole) // 3, len(whole) // 2, len(whole)):
        (job / contract.EVENTS).write_bytes(whole[:size])
        assert bookmark.is_behind(job)
        assert trackers.run(store, job) == tracking.WRITTEN
    assert store.content() == undisturbed.content()


def test_only_one_tracker_writes_a_job(trackers: Trackers, job: Path, store: Store) -> None:
    with bookmark.held(job / bookmark.LOCK):
        assert trackers.run(store, job) == tracking.LATER
    assert store.rows("runs") == []


def test_mlflow_that_is_away_is_tried_again_later(trackers: Trackers, job: Path) -> None:
    away = Store(job)
    away.uri = "http://127.0.0.1:9"
    assert trackers.run(away, job) == tracking.LATER
    assert bookmark.is_behind(job)


def test_aliases_follow_what_the_hub_decides(
    trackers: Trackers, job: Path, store: Store, tmp_path: Path
) -> None:
    """Two jobs of one registered model: the second takes the place of the first, then gives it back."""
    second = Path(shutil.copytree(job, tmp_path / "second"))
    text = (second / contract.JOB).read_text()
    (second / contract.JOB).write_text(text.replace('"id": "job-1"', '"id": "job-2"'))

    def aliases(first: bookmark.Stage, then: bookmark.Stage) -> dict[str, int]:
        for folder, stage in ((job, first), (second, then)):
            bookmark.ask_stage(folder, stage)
            assert bookmark.is_behind(folder) or not (folder / bookmark.BOOKMARK).exists()
            assert trackers.run(store, folder) == tracking.WRITTEN
        return {alias: version for _, alias, version in store.rows("aliases")}

    assert aliases("champion", "candidate") == {"champion": 1, "candidate": 2}
    assert aliases("previous", "champion") == {"previous": 1, "champion": 2}
    assert aliases("champion", "none") == {"champion": 1}
