"""Room for what jobs write: promised before a process starts, counted for its team, given back at the end.

Called by `attempts`, `settling`, `states` and `retention`. One row of the storage quota stands for each job: what it
will write at most while it runs (not settled: a promise, which others may not use), or else what lies in its folder.
"""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from accounts import quotas
from inference import sizes
from inference.errors import DiskFull
from training import files
from training.models import Export, Job

HOLDER, GATE = "job:", ".room"
NOT_COUNTED = "exports"  # each has a row of its own


def holder(job: Job) -> str:
    return f"{HOLDER}{job.pk}"


def reserve(job: Job, most_bytes: int) -> None:
    """Promise a job what it will write at most, together with what lies there.

    Raises: DiskFull; QuotaReached.
    """
    held = size_bytes(job)
    with _alone():
        free = free_bytes(but=holder(job))
        if most_bytes - held > free:
            raise DiskFull(
                f"checkpoints and result take {sizes.text(most_bytes)}, and of the disk of the data"
                f" folder {sizes.text(max(0, free))} are left beside what is promised to others"
            )
        most = max(most_bytes, held)
        quotas.reserve(_bearer(job), files.STORAGE, most, holder(job))


def settle(job: Job) -> None:
    """Count what lies there; nothing is promised any more."""
    found = size_bytes(job)
    if found:
        quotas.count(_bearer(job), files.STORAGE, found, holder(job))
    else:
        quotas.release(files.STORAGE, holder(job))


def free_bytes(but: str = "") -> int:
    """Give what is free and promised to nobody; below zero, where the disk has been filled by others."""
    return shutil.disk_usage(settings.HUB_DATA).free - promised_bytes(but)


def promised_bytes(but: str = "") -> int:
    """Sum up what jobs and exports under way have still to write."""
    promised = quotas.promised(files.STORAGE, HOLDER) | quotas.promised(
        files.STORAGE, Export.HOLDER
    )
    promised.pop(but, None)
    return sum(max(0, most - _written(name)) for name, most in promised.items())


def size_bytes(job: Job) -> int:
    """Of its folder, without the exports."""
    return bytes_in(job.folder()) - bytes_in(job.folder() / NOT_COUNTED)


def bytes_in(folder: Path) -> int:
    """A process may be writing there: what goes meanwhile counts nothing."""
    return sum(_bytes_of(file) for file in folder.rglob("*"))


def _bytes_of(file: Path) -> int:
    try:
        return file.lstat().st_size if file.is_file() else 0
    except OSError:
        return 0


def _written(name: str) -> int:
    """Of `job:ID` or `export:ID:KIND`."""
    parts = name.split(":")
    job = Job(pk=parts[1])
    return size_bytes(job) if len(parts) == 2 else bytes_in(Export(job=job, kind=parts[2]).folder())


def _bearer(job: Job) -> quotas.Bearer:
    return quotas.Bearer(job.owner_id, job.team_id)


@contextmanager
def _alone() -> Iterator[None]:
    """All workers that share this disk look and promise one after the other."""
    gate = Path(settings.HUB_DATA) / "jobs" / GATE
    gate.parent.mkdir(parents=True, exist_ok=True)
    with gate.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
