"""Where model files may lie: folders that the operator opened, and the hub's own.

`entries`, `arrivals` and `uploads` ask here before they touch a path.
"""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from django.conf import settings

from inference.errors import DiskFull, InvalidValue
from inference.models import Model

GONE = ".gone-"  # begins the name of a folder that is being deleted
ADDED = "added"  # under the folder of models: files that the hub itself brought
SPARE_BYTES = 256 * 2**20  # disk that stays free
NAME_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+ -]{0,199}")
MAX_DEPTH = 8
COMING = frozenset({Model.State.UPLOADING, Model.State.DOWNLOADING})


def import_roots() -> list[Path]:
    return [root.resolve() for root in settings.HUB_IMPORT_ROOTS]


def allowed(given: str) -> Path:
    """Find a file or folder under an import root, links followed.

    What is not there and what may not be seen is refused with the same words. Raises: InvalidValue.
    """
    roots = import_roots()
    found = (_inside(root, given, roots) for root in roots)
    path = next((path for path in found if path), None)
    if path is None:
        shown = ", ".join(str(root) for root in roots)
        raise InvalidValue(
            f"there is nothing that may be read at this path; models are read from {shown}"
            " (AI_HUB_IMPORT_ROOTS names more)",
            param="path",
        )
    return path


def _inside(root: Path, given: str, roots: list[Path]) -> Path | None:
    """A relative path counts from this root; where it leads may be in any."""
    try:
        path = (root / given).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        return None
    return path if any(path != r and path.is_relative_to(r) for r in roots) else None


def safe_path(root: Path, name: str) -> Path:
    """Confine a file name that a hub or a browser sent. Raises: InvalidValue."""
    parts = PurePosixPath(name).parts
    fine = 0 < len(parts) <= MAX_DEPTH and "\\" not in name
    if not fine or not all(NAME_PART.fullmatch(part) for part in parts):
        raise InvalidValue(f"{name[:100]!r} is no name for a model's file", param="files")
    return root.joinpath(*parts)


def own_folder(name: str, pk: int) -> Path:
    """Give the folder of a model whose files the hub brings; the number keeps names apart."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:64] or "model"
    return Path(settings.HUB_MODELS) / ADDED / f"{slug}-{pk}"


def remove_owned(path: Path) -> None:
    """Delete a folder of `own_folder`, and nothing else ever; who writes there ends first.

    It is renamed before, so that what a killed process leaves of it is known as such.
    """
    root = (Path(settings.HUB_MODELS) / ADDED).resolve()
    found = path.resolve()
    if found.parent != root or path.is_symlink():
        return
    gone = root / f"{GONE}{secrets.token_hex(8)}"
    with contextlib.suppress(FileNotFoundError), held(found, alone=True):
        found.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def sweep() -> int:
    """Delete what was being deleted when a process ended; give how many folders."""
    left = [*(Path(settings.HUB_MODELS) / ADDED).glob(f"{GONE}*")]
    for folder in left:
        shutil.rmtree(folder, ignore_errors=True)
    return len(left)


@contextlib.contextmanager
def held(folder: Path, *, alone: bool) -> Iterator[None]:
    """Keep a folder from being removed, or others from writing there. Raises: FileNotFoundError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def check_disk(
    needed_bytes: int,
    root: Path | None = None,
    whose: str = "the models",
    cure: str = "free some, or set AI_HUB_MODELS to another disk",
    promised_bytes: int = 0,
) -> None:
    """Look at the disk of a folder, without one at that of the models.

    Raises: DiskFull, with what is needed and what is free.
    """
    place = Path(settings.HUB_MODELS) if root is None else root
    place.mkdir(parents=True, exist_ok=True)
    free = max(0, shutil.disk_usage(place).free - promised_bytes)
    if free < needed_bytes + SPARE_BYTES:
        raise DiskFull(
            f"this needs {_mib(needed_bytes)} and {_mib(SPARE_BYTES)} that stay free,"
            f" but the disk of {whose} has {_mib(free)} left"
            + (f" beside {_mib(promised_bytes)} that are still coming" if promised_bytes else "")
            + f"; {cure}"
        )


@contextlib.contextmanager
def room_for(needed_bytes: int, but: int = 0) -> Iterator[None]:
    """Look at the disk of the models, and let nobody else look until a row says what is coming.

    `but`: the row that asks, whose own promise does not count. Raises: DiskFull.
    """
    added = Path(settings.HUB_MODELS) / ADDED
    added.mkdir(parents=True, exist_ok=True)
    with held(added, alone=True):
        check_disk(needed_bytes, promised_bytes=coming_bytes(but))
        yield


def coming_bytes(but: int = 0) -> int:
    """Sum up what uploads and downloads under way have still to bring."""
    rows = Model.objects.filter(state__in=COMING, owns_files=True).exclude(pk=but)
    sizes = rows.values_list("total_bytes", "done_bytes")
    return sum(max(0, total - done) for total, done in sizes)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
