"""A start looks before it prepares: what is up to date costs no process, all else does."""

import subprocess
import sys
from pathlib import Path

from tests.hub import processes

LOOK = "import django; django.setup(); from hub import prepared; print(prepared.is_prepared())"


def is_prepared(data: Path, **variables: str) -> bool:
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        cwd=processes.ROOT,
        env=processes.environment(data, 1, **variables),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout == "True\n"


def test_it_knows_what_is_up_to_date(tmp_path: Path) -> None:
    assert not is_prepared(tmp_path)
    assert processes.manage(tmp_path, 1, "prepare").returncode == 0
    assert is_prepared(tmp_path)
    assert not is_prepared(tmp_path, AI_HUB_MODELS=str(tmp_path / "none"))
    assert not is_prepared(tmp_path, AI_HUB_DATABASE_URL="postgres://nobody@127.0.0.1:1/none")
