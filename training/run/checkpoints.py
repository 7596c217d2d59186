"""Checkpoints: folders that appear whole, with a manifest that has the sha256 of every file.

Tensors are safetensors, the rest JSON: nothing is pickled. A folder without a valid manifest is none.
"""

import errno
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from inference.engines import appearing as folders
from training.contract import CHECKPOINTS, MANIFEST

PREFIX = "step-"
OPTIMIZER, RANDOM, STATE = "optimizer.safetensors", "random.safetensors", "state.json"
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DiskFull(Exception):
    """The message says where, and how much was needed."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    step: int
    path: Path
    sha256: str


@contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """Give a folder to write into, which becomes `target` as a whole with its manifest, or is gone.

    Raises: DiskFull, OSError.
    """
    for left in target.parent.glob(f".{target.name}-*"):
        shutil.rmtree(left, ignore_errors=True)  # of an attempt that was killed
    try:
        with folders.appearing(target) as scratch:
            yield scratch
            write_manifest(scratch)
            shutil.rmtree(target, ignore_errors=True)
    except Exception as error:
        if says_full(error):
            why = getattr(error, "strerror", None) or error
            raise DiskFull(f"{target.name} could not be written: {why}") from error
        raise


def says_full(error: Exception) -> bool:
    """Safetensors' own errors carry the system's error as text only."""
    if isinstance(error, DiskFull) or (isinstance(error, OSError) and error.errno in FULL):
        return True
    return any(f"os error {number}" in str(error) for number in FULL)


def write_manifest(folder: Path) -> None:
    """List every file with its size and sha256."""
    files = {
        str(path.relative_to(folder)): [path.stat().st_size, sha256_of(path)]
        for path in folder.rglob("*")
        if path.is_file()
    }
    text = json.dumps({"files": files}, indent=1, sort_keys=True)
    (folder / MANIFEST).write_text(text)


def manifest_sha256(folder: Path) -> str:
    return sha256_of(folder / MANIFEST)


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_valid(folder: Path) -> bool:
    """Whether every file is there, whole and unchanged."""
    try:
        files = json.loads((folder / MANIFEST).read_bytes())["files"]
        return all(
            (folder / name).stat().st_size == size and sha256_of(folder / name) == digest
            for name, (size, digest) in files.items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def all_of(output: Path) -> list[Path]:
    """Oldest first, valid or not."""
    found = (output / CHECKPOINTS).glob(f"{PREFIX}*")
    return sorted(path for path in found if path.name.removeprefix(PREFIX).isdigit())


def newest(output: Path) -> Checkpoint | None:
    """Give the newest valid one; what is broken is passed over, not removed."""
    for path in reversed(all_of(output)):
        if is_valid(path):
            return Checkpoint(step_of(path), path, manifest_sha256(path))
    return None


def path_of(output: Path, step: int) -> Path:
    return output / CHECKPOINTS / f"{PREFIX}{step:08d}"


def step_of(path: Path) -> int:
    return int(path.name.removeprefix(PREFIX))


def drop_old(output: Path, keep: int) -> None:
    """Keep so many: the newest ones, and in place of the oldest of them the best by held-out loss."""
    found = all_of(output)
    kept = {*found[-keep:]}
    best = _best(found) if keep > 1 else None
    if best is not None and best not in kept:
        kept = {*found[1 - keep :], best}
    for path in found:
        if path not in kept:
            shutil.rmtree(path, ignore_errors=True)


def _best(found: list[Path]) -> Path | None:
    """Give the one of the least loss on held-out rows, the newest of equals; None where none was measured."""
    known = [(loss, path) for path in found if (loss := _held_out(path)) is not None]
    least = min((loss for loss, _ in known), default=None)
    return next((path for loss, path in reversed(known) if loss == least), None)


def _held_out(folder: Path) -> float | None:
    try:
        told = json.loads((folder / STATE).read_bytes())["progress"]["held_out"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return float(told) if isinstance(told, int | float) else None


# --- optimiser and chance -------------------------------------------------------------------------


def save_optimizer(optimizer: Any, folder: Path) -> None:
    """By place of the parameter: `3.exp_avg`. Groups hold only what the recipe says anyway."""
    state = optimizer.state_dict()["state"]
    tensors = {
        f"{at}.{name}": torch.as_tensor(value).detach().cpu().contiguous()
        for at, values in state.items()
        for name, value in values.items()
    }
    save_file(tensors, folder / OPTIMIZER)


def load_optimizer(optimizer: Any, folder: Path) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in load_file(folder / OPTIMIZER).items():
        at, name = key.split(".", 1)
        state.setdefault(int(at), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def random_state() -> dict[str, Tensor]:
    """Dropout draws from these; the order of rows comes from the seed alone."""
    found = {"cpu": torch.random.get_rng_state()}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state()
    return found


def set_random_state(state: Mapping[str, Tensor]) -> None:
    torch.random.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
