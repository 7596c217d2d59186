"""MLflow stores of tests: one is made, the others are copies; read with nothing but SQL."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

FORKER = """
import os, sys
from training.tracking import tracker
from training.tracking.__main__ import main
for line in sys.stdin:
    uri, *arguments = line.split()
    if not (pid := os.fork()):
        os.environ["MLFLOW_TRACKING_URI"] = uri
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os._exit(main(arguments))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
TABLES = {
    "metrics": "SELECT key, step, value FROM metrics ORDER BY 1, 2, 3",
    "params": "SELECT key, value FROM params ORDER BY 1",
    "tags": "SELECT key, value FROM tags WHERE key LIKE 'hub.%' ORDER BY 1",
    "runs": "SELECT name, status FROM runs",
    "versions": "SELECT name, version FROM model_versions",
    "aliases": "SELECT name, alias, version FROM registered_model_aliases ORDER BY 1, 2",
}


class Store:
    """A folder with a database and artifacts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "mlflow.db"
        self.uri = f"sqlite:///{self.file}"
        self.artifacts = folder / "artifacts"

    def copy(self, folder: Path) -> "Store":
        """Give an empty store like this one."""
        shutil.copytree(self.folder, folder)
        made = Store(folder)
        with sqlite3.connect(made.file) as database:
            place = (made.artifacts.as_uri(),)
            database.execute(
                "UPDATE experiments SET artifact_location = ? WHERE name = 'training'", place
            )
        return made

    def rows(self, name: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.file, timeout=20) as database:
            return database.execute(TABLES[name]).fetchall()

    def content(self) -> dict[str, Any]:
        """Give all that a person would see of it."""
        files = sorted(
            str(file.relative_to(self.artifacts)).partition("/")[2]
            for file in self.artifacts.rglob("*")
            if file.is_file()
        )
        return {name: self.rows(name) for name in TABLES} | {"files": files}


class Trackers:
    """Real processes, forked from one that has done the imports."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", FORKER]
        self._forker = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_how: object) -> None:
        self._forker.communicate()

    def start(self, store: Store, folder: Path, *more: str) -> int:
        """Give its process id; `ended` must be asked before the next."""
        assert self._forker.stdin
        words = (store.uri, folder, "--artifacts", store.artifacts, "--quiet", "0", *more)
        self._forker.stdin.write(" ".join(map(str, words)) + "\n")
        self._forker.stdin.flush()
        return self._number()

    def ended(self) -> int:
        return self._number()

    def run(self, store: Store, folder: Path, *more: str) -> int:
        self.start(store, folder, *more)
        return self.ended()

    def _number(self) -> int:
        assert self._forker.stdout
        return int(self._forker.stdout.readline())


class Server:
    """MLflow's server as the hub starts it, on a socket in a short folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(folder / "mlflow")
        self.store.file = folder / "mlflow" / "mlflow.sqlite3"
        self.store.uri = f"sqlite:///{self.store.file}"
        self.process: subprocess.Popen[bytes]

    def start(self, *more: str) -> None:
        socket = self.folder / "mlflow.sock"
        socket.unlink(missing_ok=True)
        places = (str(socket), str(self.store.artifacts))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "training.tracking.server", *places, *more],
            env={"PATH": os.environ["PATH"], "MLFLOW_TRACKING_URI": self.store.uri},
        )
        deadline_s = time.monotonic() + 60
        while not socket.exists() and time.monotonic() < deadline_s:
            time.sleep(0.02)

    def wait_empty(self) -> None:
        """Until it has nothing of MLflow's in memory."""
        loaded = Path(f"/proc/{self.process.pid}/maps")
        deadline_s = time.monotonic() + 60
        while b"pydantic_core" in loaded.read_bytes():
            assert time.monotonic() < deadline_s
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
