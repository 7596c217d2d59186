"""Supervises the check of one version: a process of its own reads the file, the row says what came of it.

Called by the worker. Whoever holds the lock of a version's folder is its supervisor; the kernel frees
the lock of one that was killed, so a row that is `validating` with a free lock is taken up again.
"""

import logging
import os
import subprocess
import sys
from pathlib import Path

import msgspec
from django.db import transaction
from django.utils import timezone

from accounts import audit, quotas
from inference.errors import HubError
from training import bases, processes, shelf, store
from training.datasets import validation
from training.datasets.report import Report
from training.models import DataSetVersion, File

log = logging.getLogger(__name__)

OPTIONS = "options.json"
MOST_ATTEMPTS = 3
LEAST_S, BYTES_PER_S = 600.0, 20_000  # a check takes no longer than both allow
State = DataSetVersion.State


def validate(version_id: str) -> None:
    """Check a version, unless somebody does or it is done. Raises: OSError."""
    if not DataSetVersion.objects.filter(pk=version_id, state__in=DataSetVersion.OPEN).exists():
        return
    with processes.alone(shelf.folder(version_id)) as lock:
        while lock is not None and (version := _begun(version_id)) is not None:
            _try(version)
    if not DataSetVersion.objects.filter(pk=version_id).exists():
        shelf.remove(version_id)  # it was removed while it was read


def _begun(version_id: str) -> DataSetVersion | None:
    """Give the row as one that is being checked, or None where nothing is to be done."""
    rows = DataSetVersion.objects.select_related("data_set").filter(pk=version_id)
    version = rows.filter(state__in=DataSetVersion.OPEN).first()
    if version is None:
        return None
    if version.attempts >= MOST_ATTEMPTS:
        _end(version, State.FAILED, f"The check was broken off {MOST_ATTEMPTS} times.")
        return None
    version.attempts += 1
    rows.update(state=State.VALIDATING, attempts=version.attempts)
    return version


def _try(version: DataSetVersion) -> None:
    """Run the process once; one that is killed leaves the row to the next attempt."""
    folder = shelf.folder(version.pk)
    try:
        options = _options(version)
    except HubError as error:
        _end(version, State.FAILED, error.message)
        return
    if not all(file.exists() for file in (options.file, options.validation) if file):
        _end(version, State.FAILED, "The file is gone: upload it again.")
        return
    (folder / OPTIONS).write_bytes(msgspec.json.encode(options, enc_hook=str))
    try:
        done = _run(folder / OPTIONS, LEAST_S + version.source_bytes / BYTES_PER_S)
    except subprocess.TimeoutExpired:
        _end(version, State.REFUSED, "Checking the file takes too long: split it.")
        return
    processes.reconnect()
    if done.returncode == 0:
        _take_over(version)
    elif done.returncode > 0:
        _end(version, State.FAILED, _reason(done.stderr))
    else:
        log.warning("check of a data set was killed", extra={"version": version.pk})


def _options(version: DataSetVersion) -> validation.Options:
    """Raises: ModelNotFound, InvalidValue."""
    held = version.validation_file_id
    return validation.Options(
        file=store.path(version.file_id),
        name=version.filename,
        output=shelf.folder(version.pk),
        held_out=version.held_out,
        validation=store.path(held) if held else None,
        validation_name=_filename(held),
        base=bases.find(version.base)[1] if version.base else None,
        max_length=version.max_length,
        parent=os.getpid(),
    )


def _filename(file_id: str) -> str:
    """Tell under which name a file came, which says how it is written; "" where it is gone."""
    return File.objects.filter(pk=file_id).values_list("filename", flat=True).first() or ""


def _run(options: Path, limit_s: float) -> "subprocess.CompletedProcess[bytes]":
    """One thread, no secret, no address. Raises: TimeoutExpired, OSError."""
    return subprocess.run(
        [sys.executable, "-m", "training.datasets", str(options)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=processes.environment() | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        cwd=Path(__file__).parent.parent,
        timeout=limit_s,
        check=False,
    )


def _reason(said: bytes) -> str:
    last = said.decode(errors="replace").strip().splitlines()[-1:] or ["it gave no reason"]
    return f"The check failed: {last[0][:500]}."


def _take_over(version: DataSetVersion) -> None:
    """Put into the row what the report says."""
    report = shelf.report(version.pk)
    if report is None:
        _end(version, State.FAILED, "The check wrote no report.")
        return
    reason = _refusal(version, report)
    _end(version, State.REFUSED if reason else State.READY, reason, **_figures(report))


def _refusal(version: DataSetVersion, report: Report) -> str:
    """Say why nothing is trained on this; "" where it can be."""
    if report.train is None:
        return shelf.first_error(report) or "No row of the file can be learned."
    too_few = "too_few_rows" in report.counts
    return (
        shelf.first_error(report) if too_few or (report.errors and not version.leaves_out) else ""
    )


def _figures(report: Report) -> dict[str, object]:
    train, held = report.train, report.validation
    return {
        "format": report.format or "",
        "shape": report.shape,
        "rows": report.rows,
        "train_rows": train.rows if train else 0,
        "validation_rows": held.rows if held else 0,
        "characters": report.characters,
        "tokens": report.lengths.total if report.lengths else None,
        "errors": report.errors,
        "warnings": report.warnings,
        "sha256": train.sha256 if train else "",
    }


def _end(version: DataSetVersion, state: str, reason: str = "", **figures: object) -> None:
    """The check is over, unless the row is gone."""
    size_bytes = shelf.size_bytes(version.pk)
    ended = {"state": state, "reason": reason, "ended_at": timezone.now()}
    with transaction.atomic():
        rows = DataSetVersion.objects.filter(pk=version.pk, state__in=DataSetVersion.OPEN)
        if not rows.update(**ended, **figures, size_bytes=size_bytes):
            return
        quotas.settle("storage_bytes", version.pk, size_bytes)
        after = {"number": version.number, "state": str(state), "reason": reason}
        name = version.data_set.name
        audit.record("dataset.check", "dataset", name, pk=version.data_set_id, after=after)


def waiting() -> list[str]:
    """Give the versions whose check has not ended."""
    rows = DataSetVersion.objects.filter(state__in=DataSetVersion.OPEN)
    return [*rows.order_by("created_at").values_list("pk", flat=True)]


def sweep() -> int:
    """Remove folders that no row leads to, the worker's hourly task; give how many."""
    found = [*shelf.ids()]
    there = {*DataSetVersion.objects.filter(pk__in=found).values_list("pk", flat=True)}
    gone = [version_id for version_id in found if version_id not in there]
    for version_id in gone:
        shelf.remove(version_id)
    return len(gone)
