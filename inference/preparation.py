"""Work on a stranger's files that needs an engine's library: in a process of its own, with limits.

Called by the worker: conversions, merges, the check of chat templates.
"""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from inference import starters
from inference.engines.bounds import NICENESS, VARIABLE

MIB = 2**20
CONVERSION_CPU_S = 2 * 3600
LIBRARIES_BYTES = 6 * 1024 * MIB  # of address space that torch may write to, before any model
COPIES = 8  # of a model's files: read, in 32 bits, and as it is written


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a process may take; a hostile file ends it, and nothing else."""

    cpu_s: int
    data_bytes: int
    file_bytes: int


TEMPLATE = Bounds(cpu_s=10, data_bytes=512 * MIB, file_bytes=MIB)
TOKENIZER = Bounds(cpu_s=60, data_bytes=2048 * MIB, file_bytes=MIB)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a tokenizer gives: how many, the highest of its own, and those that were added, by their ids."""

    words: int
    highest: int
    added: dict[int, str]


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


def to_ctranslate2(source: Path, target: Path) -> None:
    """Make what `asr_whisper` serves of Whisper's safetensors. Raises: PreparationFailed, OSError."""
    size = sum(file.stat().st_size for file in source.rglob("*") if file.is_file())
    data = LIBRARIES_BYTES + COPIES * size
    bounds = Bounds(cpu_s=CONVERSION_CPU_S, data_bytes=data, file_bytes=2 * size + 64 * MIB)
    _run("convert_whisper", source, target, bounds=bounds)


def template_problems(templates: Sequence[str]) -> list[str]:
    """Say of each chat template why it does not compile; empty where it does. Raises: OSError."""
    try:
        done = _run("check_template", stdin=json.dumps([*templates]), bounds=TEMPLATE)
        found = json.loads(done.stdout.splitlines()[-1])["done"]
    except (PreparationFailed, ValueError, KeyError, IndexError, TypeError):
        return ["it takes too long or too much memory to compile" for _ in templates]
    return [str(problem) for problem in found]


def tokenizer(file: Path) -> Tokens:
    """Read a tokenizer.json with the engines' own library. Raises: PreparationFailed, OSError."""
    done = _run("check_tokenizer", file, bounds=TOKENIZER)
    try:
        found = json.loads(done.stdout.splitlines()[-1])["done"]
        added = {int(number): str(text) for number, text in found["added"].items()}
        return Tokens(int(found["words"]), int(found["highest"]), added)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        raise PreparationFailed("it was read without an answer") from None


@contextmanager
def _exclusive(file: Path) -> Iterator[None]:
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(
    module: str, *paths: Path, stdin: str = "", bounds: Bounds | None = None
) -> subprocess.CompletedProcess[str]:
    """One thread, low priority: serving goes first. Raises: PreparationFailed, OSError."""
    command = [sys.executable, "-m", f"inference.engines.{module}", *map(str, paths)]
    own = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    if bounds is not None:
        own[VARIABLE] = f"{bounds.cpu_s} {bounds.data_bytes} {bounds.file_bytes}"
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**_environment(), **own},
        cwd=Path(__file__).parent.parent,
        preexec_fn=None if bounds else _be_nice,  # with bounds it is nice by itself
    )
    if done.returncode != 0:
        raise PreparationFailed(_reason(done))
    return done


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
