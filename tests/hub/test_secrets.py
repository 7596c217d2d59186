"""Secrets are made once, for the owner only; sockets fit where they must."""

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hub import keyring, places


def test_it_makes_a_secret_for_the_owner_only(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    value = keyring.load_or_make(folder, "key")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600
    assert len(value) == 44
    assert keyring.load_or_make(folder, "key") == value


def test_it_agrees_on_one_secret_in_a_race(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        values = set(pool.map(lambda _: keyring.load_or_make(tmp_path / "s", "key"), range(64)))
    assert len(values) == 1
    assert [path.name for path in (tmp_path / "s").iterdir()] == ["key"]


def test_it_finds_what_others_can_read(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    keyring.load_or_make(folder, "key")
    assert keyring.open_to_others(folder) == []
    (folder / "key").chmod(0o640)
    assert keyring.open_to_others(folder) == [folder / "key"]


def test_it_refuses_to_start_with_open_secrets(tmp_path: Path) -> None:
    environment = {**os.environ, "AI_HUB_DATA": str(tmp_path)}
    command = [sys.executable, "manage.py", "check"]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=60)
    (tmp_path / "secrets" / "secret_key").chmod(0o644)
    done = subprocess.run(
        command, env=environment, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "chmod go-rwx" in done.stderr


def test_its_sockets_fit_under_a_deep_data_folder(tmp_path: Path) -> None:
    shallow = Path("/tmp") / f"hub-{os.getpid()}"
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    assert places.runtime_folder(shallow) == shallow / "run"
    folder = places.runtime_folder(deep)
    assert len(os.fsencode(folder / places.LONGEST_SOCKET_NAME)) <= 107
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert places.runtime_folder(deep) == folder
    folder.rmdir()
    (shallow / "run").rmdir()
    shallow.rmdir()


def test_no_other_user_reads_the_database(tmp_path: Path) -> None:
    """It holds sessions: also one that an earlier version left open to all."""
    database = tmp_path / "data" / "hub.sqlite3"
    places.data_folder(database.parent)
    assert stat.S_IMODE(database.parent.stat().st_mode) == 0o700
    database.touch(mode=0o644)
    places.data_folder(database.parent)
    assert stat.S_IMODE(database.stat().st_mode) == 0o600
