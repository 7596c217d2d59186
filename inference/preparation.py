"""Make a model's files out of another model's: the conversion runs in a process of its own."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inference import starters

NICENESS = 10


class PreparationFailed(Exception):
    """The message says why, for the operator."""


def convert(starter: starters.Starter, root: Path) -> None:
    """Convert the starter's GGUF source to safetensors; 25 s of CPU for SmolLM2, done once.

    Raises: PreparationFailed, OSError.
    """
    source = starters.by_name(starter.converted_from)
    if source is None or not source.is_present(root):
        raise PreparationFailed(f"{starter.converted_from or starter.name} is not there")
    with _exclusive(root / f".{starter.name}.lock"):
        if not starter.is_present(root):
            _run("convert", source.path(root), starter.folder(root))


def merge(base: Path, adapter: Path, target: Path) -> None:
    """Add a LoRA adapter to its base, into a new folder. Raises: PreparationFailed, OSError."""
    _run("merge", base, adapter, target)


@contextmanager
def _exclusive(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(module: str, *paths: Path) -> None:
    """One thread, low priority: serving goes first."""
    command = [sys.executable, "-m", f"inference.engines.{module}", *map(str, paths)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**_environment(), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        cwd=Path(__file__).parent.parent,
        preexec_fn=_be_nice,
    )
    if done.returncode != 0:
        raise PreparationFailed(_reason(done))


def _be_nice() -> None:
    os.nice(NICENESS)


def _environment() -> dict[str, str]:
    """A conversion reads two paths: it needs no secret and no address."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """Take the converter's own last word, else how it ended."""
    for line in reversed(done.stdout.splitlines()):
        try:
            return str(json.loads(line)["error"])
        except (ValueError, KeyError, TypeError):
            continue
    last = done.stderr.strip().splitlines()[-1:] or ["no message"]
    return f"the converter ended with code {done.returncode}: {last[0]}"
