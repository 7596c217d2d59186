"""A job that is killed, paused or broken goes on, and ends as if nothing had happened."""

import json
import random
import signal
from pathlib import Path

import pytest

from tests.training import jobs
from training import contract
from training.run import checkpoints

RECIPE = {"dropout": 0.2, "epochs": 3, "batch_size": 2, "save_every_steps": 2, "rank": 4}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return jobs.tiny_base(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return jobs.write_rows(tmp_path_factory.mktemp("data") / "train.jsonl", jobs.chats())


@pytest.fixture(scope="module")
def undisturbed(base: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> jobs.Run:
    output = tmp_path_factory.mktemp("undisturbed")
    return jobs.finished(jobs.job(base, data, output, recipe=RECIPE))


def _after_step(run: jobs.Run, step: int) -> None:
    run.until(lambda event: isinstance(event, contract.StepEvent) and event.step >= step)


def test_killed_at_random_steps_it_ends_with_the_same_adapter(
    base: Path, data: Path, undisturbed: jobs.Run, tmp_path: Path
) -> None:
    made = jobs.job(base, data, tmp_path / "killed", recipe=RECIPE)
    chance = random.Random(7)
    for step in sorted(chance.sample(range(1, 17), 3)):
        run = jobs.Run(made)
        _after_step(run, step)
        run.kill()
    run = jobs.finished(made)
    assert jobs.weights(run) == jobs.weights(undisturbed)
    assert jobs.losses(run) == jobs.losses(undisturbed)


def test_it_pauses_at_once_and_goes_on(
    base: Path, data: Path, undisturbed: jobs.Run, tmp_path: Path
) -> None:
    made = jobs.job(base, data, tmp_path / "paused", recipe=RECIPE)
    run = jobs.Run(made)
    _after_step(run, 3)
    run.signal(signal.SIGTERM)
    assert run.wait() == contract.PAUSED
    last = run.events()[-1]
    assert isinstance(last, contract.PausedEvent)
    assert last.code == "asked"
    found = checkpoints.newest(run.output)
    assert found
    assert found.step == last.step
    assert jobs.weights(jobs.finished(made)) == jobs.weights(undisturbed)


def test_it_passes_over_a_broken_checkpoint(
    base: Path, data: Path, undisturbed: jobs.Run, tmp_path: Path
) -> None:
    made = jobs.job(base, data, tmp_path / "broken", recipe=RECIPE)
    run = jobs.Run(made)
    _after_step(run, 7)
    run.kill()
    newest = checkpoints.newest(run.output)
    assert newest
    with (newest.path / "adapter_model.safetensors").open("rb+") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    older = checkpoints.newest(run.output)
    assert older
    assert older.step < newest.step
    assert jobs.weights(jobs.finished(made)) == jobs.weights(undisturbed)


def test_a_checkpoint_takes_the_place_of_what_was_left_there(tmp_path: Path) -> None:
    """By an attempt that was killed while it wrote, or of one that is broken."""
    target = checkpoints.path_of(tmp_path, 2)
    left = target.with_name(f".{target.name}-killed")
    for folder in (left, target):
        folder.mkdir(parents=True)
        (folder / "half").touch()
    with checkpoints.appearing(target) as folder:
        (folder / "whole").write_bytes(b"x")
    assert checkpoints.is_valid(target)
    assert list(target.parent.iterdir()) == [target]
    assert not (target / "half").exists()


def test_a_full_disk_pauses_it_with_the_reason(
    base: Path, data: Path, undisturbed: jobs.Run, tmp_path: Path
) -> None:
    made = jobs.job(base, data, tmp_path / "full", recipe=RECIPE)
    run = jobs.Run(made, FSIZE=4096)
    assert run.wait() == contract.PAUSED
    last = run.events()[-1]
    assert isinstance(last, contract.PausedEvent), last
    assert last.code == "disk_full"
    assert checkpoints.newest(run.output) is None
    assert jobs.weights(jobs.finished(made)) == jobs.weights(undisturbed)


def test_stop_and_register_now_makes_a_result(base: Path, data: Path, tmp_path: Path) -> None:
    run = jobs.Run(jobs.job(base, data, tmp_path / "stopped", recipe=RECIPE))
    _after_step(run, 2)
    run.signal(signal.SIGUSR1)
    assert run.wait() == contract.DONE
    last = jobs.done(run)
    assert last.stopped
    assert checkpoints.is_valid(Path(last.path))


def test_events_are_numbered_over_all_attempts(undisturbed: jobs.Run) -> None:
    assert [event.seq for event in undisturbed.events()] == list(
        range(1, len(undisturbed.events()) + 1)
    )


@pytest.mark.parametrize(
    ("losses", "keep", "kept"),
    [
        ([None, None, None, None], 2, [3, 4]),
        ([0.9, 0.2, 0.5, 0.6], 2, [2, 4]),
        ([0.9, 0.2, 0.5, 0.6], 1, [4]),
        ([0.9, 0.8, 0.2, 0.2], 2, [3, 4]),
        ([0.1, 0.8, 0.2, 0.2], 3, [1, 3, 4]),
        ([0.1], 3, [1]),
    ],
)
def test_of_the_checkpoints_that_are_kept_one_is_the_best(
    losses: list[float | None], keep: int, kept: list[int], tmp_path: Path
) -> None:
    for step, loss in enumerate(losses, 1):
        folder = checkpoints.path_of(tmp_path, step)
        folder.mkdir(parents=True)
        (folder / checkpoints.STATE).write_text(json.dumps({"progress": {"held_out": loss}}))
        checkpoints.drop_old(tmp_path, keep)
    assert [checkpoints.step_of(path) for path in checkpoints.all_of(tmp_path)] == kept
