"""System checks say what is wrong with the configuration before anything starts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def check(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    own = {"DJANGO_SETTINGS_MODULE": "hub.settings", "AI_HUB_DATA": str(tmp_path)}
    environment = {**os.environ, **own, **variables}
    return subprocess.run(
        [sys.executable, "manage.py", "check"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_it_passes_with_defaults(tmp_path: Path) -> None:
    assert check(tmp_path).returncode == 0


def test_it_names_every_bad_variable(tmp_path: Path) -> None:
    done = check(tmp_path, AI_HUB_PORT="http", AI_HUB_MODEL_SIZE="huge")
    assert done.returncode == 1
    assert "AI_HUB_PORT" in done.stderr
    assert "AI_HUB_MODEL_SIZE: must be one of large, medium, small" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_names_the_place_in_the_config_file(tmp_path: Path) -> None:
    file = tmp_path / "hub.json"
    file.write_text('{"rate_limits": {"tokens_per_hour": "all"}}')
    done = check(tmp_path, AI_HUB_CONFIG=str(file))
    assert done.returncode == 1
    assert f"{file}: `rate_limits.tokens_per_hour`" in done.stderr


@pytest.mark.parametrize("names", [{}, {"AI_HUB_ALLOWED_HOSTS": "*"}])
def test_it_refuses_to_be_reached_under_any_name(tmp_path: Path, names: dict[str, str]) -> None:
    done = check(tmp_path, AI_HUB_HOST="0.0.0.0", **names)
    assert done.returncode == 1
    assert "hub.E004" in done.stderr


def test_it_warns_of_passwords_in_the_clear(tmp_path: Path) -> None:
    done = check(tmp_path, AI_HUB_HOST="0.0.0.0", AI_HUB_ALLOWED_HOSTS="hub.example")
    assert done.returncode == 0
    assert "hub.W001" in done.stderr


def test_it_is_content_behind_tls(tmp_path: Path) -> None:
    done = check(tmp_path, AI_HUB_HOST="0.0.0.0", AI_HUB_PUBLIC_URL="https://hub.example")
    assert done.returncode == 0
    assert "hub." not in done.stderr


def test_it_says_in_one_line_that_the_data_folder_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = check(tmp_path / "file" / "data")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "AI_HUB_DATA" in done.stderr


def test_it_wonders_at_a_misspelt_variable(tmp_path: Path) -> None:
    done = check(tmp_path, AI_HUB_PROT="1", AI_HUB_KEY="hub_x")
    assert done.returncode == 0
    assert "AI_HUB_PROT is no setting of the hub" in done.stderr
    assert "Did you mean AI_HUB_PORT?" in done.stderr
    assert "AI_HUB_KEY" not in done.stderr


def test_it_misses_a_config_file_that_was_named(tmp_path: Path) -> None:
    done = check(tmp_path, AI_HUB_CONFIG=str(tmp_path / "none.json"))
    assert done.returncode == 1
    assert "there is no such file" in done.stderr


def manage(tmp_path: Path, python: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "manage.py", *words],
        env={**os.environ, "AI_HUB_DATA": str(tmp_path), "DJANGO_SETTINGS_MODULE": "hub.settings"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_it_says_in_one_line_that_there_are_no_tables_yet(tmp_path: Path) -> None:
    done = manage(tmp_path, sys.executable, "create_admin", "--username", "ada")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("The database is not set up yet")
    assert "Traceback" not in done.stderr


def test_it_finds_its_own_environment(tmp_path: Path) -> None:
    """Any Python starts it: the one of the machine knows no Django."""
    bare = getattr(sys, "_base_executable", sys.executable)
    known = subprocess.run([bare, "-c", "import django"], capture_output=True, check=False)
    if known.returncode == 0 or not Path(".venv/bin/python").exists():
        pytest.skip("the Python of this machine has Django, or the environment is elsewhere")
    done = manage(tmp_path, bare, "check")
    assert done.returncode == 0, done.stderr


def refused(tmp_path: Path, command: str, **variables: str) -> str:
    own = {"AI_HUB_DATA": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "manage.py", command],
        env={**os.environ, **own, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    return done.stderr


def test_every_refusal_to_start_reads_alike(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for command in ("runhub", "serve_web"):
        size = refused(tmp_path, command, AI_HUB_MEMORY_LIMIT="24")
        assert size.startswith("The hub cannot start: AI_HUB_MEMORY_LIMIT: must be a size")
        assert size.count("\n") == 1
        place = refused(tmp_path, command, AI_HUB_DATA=str(tmp_path / "file"))
        assert place.startswith("The hub cannot start: AI_HUB_DATA: ")
        both = refused(tmp_path, command, AI_HUB_MEMORY_LIMIT="24", AI_HUB_PORT="http")
        assert both.startswith("The hub cannot start:\n  - AI_HUB_")
        assert both.count("\n  - ") == 2
