"""A command that finds no database, or a busy one, says so in one line and exits with 1."""

import sqlite3
from pathlib import Path

import pytest
from django.db.utils import OperationalError

from hub import troubles
from tests.hub import processes


@pytest.mark.parametrize(
    "command",
    [
        ["create_admin", "--username", "ada"],
        ["create_key", "--user", "ada", "--name", "k"],
        ["set_secret", "huggingface_token"],
        ["prepare"],
    ],
)
def test_it_names_an_absent_database(tmp_path: Path, command: list[str]) -> None:
    place = f"sqlite:///{tmp_path}/no/such/folder/hub.sqlite3"
    done = processes.manage(tmp_path, 1, *command, text="word\n", AI_HUB_DATABASE_URL=place)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == "The database is away; try again (unable to open database file)."


def test_it_names_a_busy_database(tmp_path: Path) -> None:
    first, second = (sqlite3.connect(tmp_path / "a.sqlite3", timeout=0) for _ in range(2))
    first.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError) as caught:
        second.execute("BEGIN IMMEDIATE")
    error = OperationalError(*caught.value.args)
    error.__cause__ = caught.value
    assert troubles.line(error) == "The database is busy; try again (database is locked)."
    first.close()
    second.close()


def test_it_hides_no_mistake_of_the_code() -> None:
    assert troubles.line(ValueError("a mistake")) is None
    assert troubles.line(OperationalError("no such table: x")) == troubles.NOT_SET_UP
