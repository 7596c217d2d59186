"""How long the rows of a version are for a base that it was not checked with: counted once, kept beside it.

Called by `jobs.prepare`, which asks again and again.
"""

import contextlib
import hashlib
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
from django.conf import settings
from django.db import transaction

from inference.errors import HubError
from training import bases, processes, resolving, shelf, states
from training.datasets.report import Counted
from training.models import DataSetVersion, Job

log = logging.getLogger(__name__)

LIMIT_S = 3600.0
COUNTING = "Its rows are being counted with its base."

_under_way: dict[Path, threading.Thread] = {}


def known(version: DataSetVersion, base: Path, max_length: int) -> Counted | None:
    """Give what was counted, by the check or since; None where nobody has."""
    if _surely_fits(version, base, max_length):
        return Counted(lengths=None)
    try:
        return msgspec.json.decode(_file(version, base, max_length).read_bytes(), type=Counted)
    except (OSError, msgspec.MsgspecError):
        return None


def _surely_fits(version: DataSetVersion, base: Path, max_length: int) -> bool:
    """By its bytes, as no token is shorter than one, or by what the check counted with this very base."""
    if resolving.longest_bytes(version) <= max_length:
        return True
    report = shelf.report(version.pk)
    if report is None or report.lengths is None or report.lengths.longest > max_length:
        return False
    try:
        return bases.find(version.base)[1].resolve() == base.resolve()
    except HubError:
        return False


def ask(version: DataSetVersion, base: Path, max_length: int) -> None:
    """Have it counted in a process of its own, unless it is; `known` gives it once that has ended."""
    file = _file(version, base, max_length)
    thread = _under_way.get(file)
    if thread is None or not thread.is_alive():
        arguments = (version, base, max_length)
        _under_way[file] = threading.Thread(target=count, args=arguments, daemon=True)
        _under_way[file].start()


def count(version: DataSetVersion, base: Path, max_length: int) -> None:
    """Keep what is counted; nothing where it cannot be: the training itself tells then."""
    words = [str(base), str(version.train_path()), str(max_length), str(os.getpid())]
    told = msgspec.json.encode(Counted(lengths=None))
    try:
        told = subprocess.run(
            [sys.executable, "-m", "training.datasets.counting", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=processes.environment() | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
            cwd=settings.BASE_DIR,
            timeout=LIMIT_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error).encode()
        log.warning("tokens could not be counted: %s", said.decode(errors="replace")[-500:])
    with contextlib.suppress(OSError):
        _keep(_file(version, base, max_length), told)


def _keep(file: Path, told: bytes) -> None:
    """It appears whole."""
    scratch = file.with_suffix(".part")
    scratch.write_bytes(told)
    scratch.replace(file)


def tell(job: Job, counted: Counted, max_length: int) -> None:
    """Say before the start what will be cut and left out; nothing where all fits."""
    rows = job.version.train_rows
    words = {
        "rows_cut": (counted.cut, "will be cut"),
        "rows_left_out": (
            counted.dropped,
            "have nothing to learn before that and will be left out",
        ),
    }
    with transaction.atomic():
        for code, (number, what) in words.items():
            if number:
                text = (
                    f"{number} of {rows} rows are longer than max_length {max_length}: they {what}."
                )
                states.tell(job, "message", text, "warn", {"code": code, "rows": number})


def _file(version: DataSetVersion, base: Path, max_length: int) -> Path:
    digest = hashlib.sha256(f"{base.resolve()}\n{max_length}".encode()).hexdigest()[:16]
    return shelf.folder(version.pk) / f"lengths-{digest}.json"
