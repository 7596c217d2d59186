"""One holder at a time, whatever races with the removal of the lock's file; none is left behind."""

import multiprocessing as mp
from pathlib import Path

from inference import exclusive

ROUNDS = 300


def _count(file: Path, total: Path, rounds: int) -> None:
    """Add one to a number in a file, as often as the lock was had: two holders would lose some."""
    done = 0
    while done < rounds:
        with exclusive.held(file) as is_mine:
            if is_mine:
                total.write_text(str(int(total.read_text()) + 1))
                done += 1


def test_processes_that_race_never_hold_it_together(tmp_path: Path) -> None:
    lock, total = tmp_path / ".1.lock", tmp_path / "total"
    total.write_text("0")
    spawned = mp.get_context("fork")
    racing = [spawned.Process(target=_count, args=(lock, total, ROUNDS)) for _ in range(3)]
    for process in racing:
        process.start()
    for process in racing:
        process.join(60)
    assert [process.exitcode for process in racing] == [0, 0, 0]
    assert int(total.read_text()) == 3 * ROUNDS
    assert [file.name for file in tmp_path.iterdir()] == ["total"]


def test_who_comes_second_is_told_and_removes_nothing(tmp_path: Path) -> None:
    file = tmp_path / ".1.lock"
    with exclusive.held(file) as first:
        with exclusive.held(file) as second:
            assert (first, second) == (True, False)
        exclusive.sweep(tmp_path)
        assert file.exists()
    assert not file.exists()


def test_the_files_of_killed_processes_are_swept(tmp_path: Path) -> None:
    (tmp_path / ".7.lock").touch()
    (tmp_path / "model.safetensors").touch()
    exclusive.sweep(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]
