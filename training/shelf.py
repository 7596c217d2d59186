"""Where the versions of data sets lie: a folder each, in the data folder, under its own id."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
from django.conf import settings

from training.datasets import findings
from training.datasets.report import Progress, Report
from training.datasets.validation import PROGRESS, REPORT, TRAIN, VALIDATION


def root() -> Path:
    return Path(settings.HUB_DATA) / "datasets"


def folder(version_id: str) -> Path:
    """An id is the hub's own, made of letters that no path minds."""
    return root() / version_id[-2:] / version_id


def train_path(version_id: str) -> Path:
    return folder(version_id) / TRAIN


def validation_path(version_id: str) -> Path:
    return folder(version_id) / VALIDATION


def report(version_id: str) -> Report | None:
    """Read what the check found; None before it ended."""
    data = _read(version_id, REPORT)
    return msgspec.json.decode(data, type=Report) if data else None


def progress(version_id: str) -> Progress | None:
    """Read how far a check is; None where it has said nothing yet, or has ended."""
    data = _read(version_id, PROGRESS)
    return msgspec.json.decode(data, type=Progress) if data else None


def _read(version_id: str, name: str) -> bytes:
    try:
        return (folder(version_id) / name).read_bytes()
    except FileNotFoundError:
        return b""


def first_error(found: Report) -> str:
    """Say the first finding that refuses the data, in a sentence or two."""
    for finding in found.findings:
        if finding.severity == "error":
            place = f"Line {finding.line}: " if finding.line else ""
            where = f" ({finding.path})" if finding.path else ""
            return f"{place}{finding.message}{where} {findings.fix(finding.code)}"
    return ""


def size_bytes(version_id: str) -> int:
    files = folder(version_id).glob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


def remove(version_id: str) -> None:
    shutil.rmtree(folder(version_id), ignore_errors=True)


def ids() -> Iterator[str]:
    """Give all that have a folder."""
    for found in root().glob("??/dsv-*"):
        yield found.name
