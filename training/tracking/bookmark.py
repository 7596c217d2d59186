"""How far a job's spool is written to MLflow, what its registered version is to be called, and how it ended.

All are files in the job's folder: `tracking.json` is the tracker's own, `stage.json` and `end.json` are asked
by the hub.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from training import contract

BOOKMARK, STAGE, END, LOCK = "tracking.json", "stage.json", "end.json", "tracking.lock"
Stage = Literal["candidate", "champion", "previous", "none"]


class Bookmark(msgspec.Struct, kw_only=True):
    """Invariant: what lies before `offset_bytes` of the spool is in MLflow."""

    run_id: str = ""
    experiment: str = ""
    offset_bytes: int = 0
    step: int = 0  # the last whose figures were written; a resumed job tells some again
    evaluated_step: int = -1
    is_described: bool = False
    model: str = ""  # the registered model, once there is a version
    version: str = ""
    stage: str = ""  # that the version has
    status: str = ""  # that the run has


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    stage: Stage


class End(msgspec.Struct, forbid_unknown_fields=True):
    """How a job ended without a model, by the hub's word: its process may have had no time to say it."""

    status: Literal["FAILED", "KILLED"]
    reason: str


class InUse(Exception):
    """Another tracker writes this job."""


def read(folder: Path) -> Bookmark:
    """Raises: OSError."""
    try:
        return msgspec.json.decode((folder / BOOKMARK).read_bytes(), type=Bookmark)
    except (FileNotFoundError, msgspec.MsgspecError):
        return Bookmark()


def save(folder: Path, bookmark: Bookmark) -> None:
    """Raises: OSError."""
    _replace(folder / BOOKMARK, msgspec.json.encode(bookmark))


def ask_stage(folder: Path, stage: Stage) -> None:
    """Want the job's version to be this one of its registered model. Raises: OSError."""
    _replace(folder / STAGE, msgspec.json.encode(Wish(stage)))


def wanted_stage(folder: Path) -> Stage:
    """Until somebody decides, the newest version is the candidate."""
    try:
        return msgspec.json.decode((folder / STAGE).read_bytes(), type=Wish).stage
    except (OSError, msgspec.MsgspecError):
        return "candidate"


def ask_end(folder: Path, end: End) -> None:
    """Want the job's run to have ended like this, whatever the spool says. Raises: OSError."""
    _replace(folder / END, msgspec.json.encode(end))


def wanted_end(folder: Path) -> End | None:
    """Until the hub has spoken, the spool alone says how the run ended."""
    try:
        return msgspec.json.decode((folder / END).read_bytes(), type=End)
    except (OSError, msgspec.MsgspecError):
        return None


def is_behind(folder: Path) -> bool:
    """Tell whether something waits to be written. Cheap: no event is read."""
    try:
        told_bytes = (folder / contract.EVENTS).stat().st_size
    except OSError:
        return False
    bookmark = read(folder)
    behind = told_bytes > bookmark.offset_bytes
    restage = bool(bookmark.version) and bookmark.stage != wanted_stage(folder)
    return behind or restage or wants_end(folder, bookmark)


def wants_end(folder: Path, bookmark: Bookmark) -> bool:
    """Tell whether the run has not ended as the hub says."""
    end = wanted_end(folder)
    return end is not None and bool(bookmark.run_id) and bookmark.status != end.status


@contextmanager
def held(file: Path, wait: bool = False) -> Iterator[None]:
    """Be the only one here; the kernel gives the lock back when a process ends, however it ends.

    Raises: InUse, unless `wait`; OSError.
    """
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    except BlockingIOError:
        raise InUse(str(file)) from None
    finally:
        os.close(handle)


def _replace(file: Path, data: bytes) -> None:
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    with beside.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    beside.replace(file)
