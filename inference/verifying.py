"""Whether a model's files are still what they were when they came: every byte is hashed again.

Called by the worker (`tasks.verify_model`) and by `manage.py verify_models`.
"""

from pathlib import Path

from django.conf import settings
from django.utils import timezone

from inference import reading, starters
from inference.errors import Conflict
from inference.models import Model
from inference.reading import FileSum

MAX_FINDINGS = 100


def check(row: Model) -> None:
    """Raises: Conflict for a model that has no files here, or not yet."""
    if row.source == "remote":
        raise Conflict(f"`{row.name}` has no files here: another server has them")
    if row.state != Model.State.AVAILABLE:
        raise Conflict(f"`{row.name}` is {row.state}: its files are not here yet")


def verify(row: Model) -> list[str]:
    """Compare, keep the outcome in the row, and give what is wrong; a first time is only noted.

    Raises: Conflict.
    """
    check(row)
    place, known = _expected(row)
    try:
        found = reading.sums(place) if place.exists() else []
    except OSError as error:
        damage = [f"its files cannot be read: {error.strerror}"]
    else:
        damage = _differences(known, found) if known else []
        if not known:
            row.report["files"] = [_plain(file) for file in found[: reading.MAX_SUMS]]
    row.checked_at, row.damage = timezone.now(), damage[:MAX_FINDINGS]
    row.save(update_fields=["checked_at", "damage", "report"])
    return damage


def _expected(row: Model) -> tuple[Path, list[FileSum]]:
    """Give where its files are and what they were; of a starter, what it is pinned to."""
    starter = starters.by_name(row.name) if row.source == "starter" else None
    if starter is not None and starter.files:
        pinned = [FileSum(file.name, file.size_bytes, file.sha256) for file in starter.files]
        return starter.folder(Path(settings.HUB_MODELS)), pinned
    return _root(row), [FileSum(**file) for file in row.report.get("files", [])]


def _root(row: Model) -> Path:
    """Undo that a spec's path may name a file inside of what was inspected."""
    inside = Path(row.report.get("path", ""))
    return Path(row.path).parents[len(inside.parts) - 1] if inside.parts else Path(row.path)


def _differences(known: list[FileSum], found: list[FileSum]) -> list[str]:
    here = {file.path: file for file in found}
    damage = [text for file in known if (text := _difference(file, here.pop(file.path, None)))]
    if len(known) == reading.MAX_SUMS:  # there were more than are kept
        return damage
    return damage + [f"{path} was not there when it came" for path in here]


def _difference(file: FileSum, now: FileSum | None) -> str:
    if now is None:
        return f"{file.path} is missing"
    if now.size_bytes != file.size_bytes:
        return f"{file.path} has {now.size_bytes} bytes, not {file.size_bytes}"
    return "" if now.sha256 == file.sha256 else f"{file.path} has another content than when it came"


def _plain(file: FileSum) -> dict[str, str | int]:
    return {"path": file.path, "size_bytes": file.size_bytes, "sha256": file.sha256}
