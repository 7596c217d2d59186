"""Bring the files of a new model, inspect them, make it available. Called by the worker alone.

The row is the truth: every step is compare-and-set, so a cancel is seen within a second, and a
worker that was killed is followed by one that goes on where it ended.
"""

import logging
import shutil
import time
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import audit
from inference import (
    adapter_values,
    attachable,
    catalog,
    exclusive,
    hubs,
    inspection,
    model_settings,
    outages,
    places,
    preparation,
    reading,
)
from inference.downloads import CHUNK_BYTES, DownloadFailed, WrongDigest, plain, sha256_of
from inference.engines.lora_file import WEIGHTS, NotAttachable
from inference.errors import DiskFull, HubError, InvalidValue
from inference.models import ARRIVING, Model

log = logging.getLogger(__name__)

NOTE_EVERY_S = 1.0
MERGED = "merged"  # the folder of an adapter with its base
CONVERTED = "converted"  # the folder of what was made of a model's files for its engine
FULL = "the disk of the models became full: free some space and try again"
SMOOTHING = 0.3  # of the speed, per note
State = Model.State


class Gone(Exception):
    """The row was cancelled, removed, or is another worker's: stop, and change nothing."""


def bring(pk: int) -> None:
    """Do all that is left to do for one model; give up with a reason in its row.

    Looked at again after the lock is given back: who found it taken has left it to us.
    """
    while Model.objects.filter(pk=pk, state__in=ARRIVING).exists():
        with exclusive.held(_lock(pk)) as is_mine:
            if not is_mine:
                return
            _bring_once(pk)


def _bring_once(pk: int) -> None:
    row = Model.objects.filter(pk=pk, state__in=ARRIVING).first()
    if row is None:
        return
    try:
        _bring(row)
    except Gone:
        log.info("arrival ended", extra={"model": row.name})
        if row.owns_files and not Model.objects.filter(pk=pk).exists():
            places.remove_owned(places.own_folder(row.name, pk))
    except (HubError, DownloadFailed, preparation.PreparationFailed, OSError) as error:
        _fail(row, error)
    # Whatever it is: a row that says nothing would wait for ever, and so would its reader.
    except Exception as error:
        if known := outages.of(error):
            _fail(row, known)
            return
        log.exception("model not added", extra={"model": row.name})
        _fail(row, RuntimeError(f"unexpected {type(error).__name__}; the worker's log says more"))


def _lock(pk: int) -> Path:
    folder = Path(settings.HUB_MODELS) / places.ADDED
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f".{pk}.lock"


def waiting() -> list[int]:
    """List what has not arrived, after a start of the worker."""
    exclusive.sweep(Path(settings.HUB_MODELS) / places.ADDED)
    return [*Model.objects.filter(state__in=ARRIVING).values_list("pk", flat=True)]


def unattended() -> list[int]:
    """List what should arrive and nobody brings: its message waits, or was lost."""
    rows = Model.objects.filter(state__in=ARRIVING).values_list("pk", flat=True)
    return [pk for pk in rows if not exclusive.is_held(_lock(pk))]


def _bring(row: Model) -> None:
    place = _FETCH.get(row.source, _in_place)(row)
    _step(row, state=State.INSPECTING, state_reason="", bytes_per_s=0.0)
    report = inspection.inspect(place)
    if row.source == "local" and place != Path(row.origin) and place.is_file():
        report.warnings += reading.blindness(Path(row.origin))  # a copy has nothing beside it
    _check_kind(row, report)
    if row.base is not None:
        place, fields = _adapter(row, row.base, place, report)
    elif report.converts:
        place, fields = _converted(row, place, report)
    else:
        fields = _found(row, place, report)
    files = _sums(row, place)
    report.files = files[: reading.MAX_SUMS]
    fields |= {"report": reading.as_json(report), "sha256": reading.fingerprint(files)}
    fields |= {"checked_at": timezone.now(), "damage": []}
    with transaction.atomic():
        _step(row, state=State.AVAILABLE, state_reason="", **fields)
        after = {"source": row.source, "revision": row.revision, "files": len(files)}
        audit.record("model.arrive", "model", row.name, pk=row.pk, after=after | _told(fields))
    log.info("model added", extra={"model": row.name})


def _sums(row: Model, place: Path) -> list[reading.FileSum]:
    """Hash what came, and tell how far that is: large files take minutes. Raises: Gone, OSError."""
    total = place.stat().st_size if place.is_file() else _bytes_in(place)
    _step(row, total_bytes=total, done_bytes=0)
    note = _Note(row, total)
    files = reading.sums(place, note.add)
    note.finish(0)
    return files


def _told(fields: dict[str, Any]) -> dict[str, Any]:
    """Give what the audit log keeps of files that came."""
    return {name: fields[name] for name in ("engine", "size_bytes", "sha256") if name in fields}


def _check_kind(row: Model, report: reading.Report) -> None:
    """Raises: InvalidValue."""
    if (report.kind == "adapter") != (row.base is not None):
        is_adapter = report.kind == "adapter"
        raise InvalidValue(
            f"this is {'an adapter, which needs a `base`' if is_adapter else 'no adapter'}"
        )


def _adapter(
    row: Model, base: Model, adapter: Path, report: reading.Report
) -> tuple[Path, dict[str, Any]]:
    """Let its base attach it, or merge what cannot be attached. Raises: HubError."""
    if base.state != State.AVAILABLE:
        raise InvalidValue(f"its base `{base.name}` is {base.state}")
    adapter_values.check(adapter / WEIGHTS)
    try:
        attachable.check(adapter, base, own_settings=bool(row.settings))
    except NotAttachable as error:
        report.warnings.append(f"merged into a copy of {base.name}: {error}")
        place = _merged(row, base, adapter)
        return place, _found(row, place, reading.inspect(place)) | {"engine": base.engine}
    report.attached = True
    same = ("kind", "engine", "quantization", "context_tokens", "licence")
    fields = {field: getattr(base, field) for field in same}
    sizes = {"size_bytes": _bytes_in(adapter), "parameters": report.parameters}
    return adapter, fields | sizes | {"path": str(adapter)}


def _merged(row: Model, base: Model, adapter: Path) -> Path:
    """Add the adapter to its base, once: it is then served like any model. Raises: HubError."""
    target = places.own_folder(row.name, row.pk) / MERGED
    shutil.rmtree(target, ignore_errors=True)
    _step(row, state=State.INSPECTING, state_reason=f"it is added to {base.name}")
    preparation.merge(Path(base.path), adapter, target)
    return target


def _converted(row: Model, source: Path, report: reading.Report) -> tuple[Path, dict[str, Any]]:
    """Make what its engine serves, once; the files it came from stay. Raises: PreparationFailed."""
    target = places.own_folder(row.name, row.pk) / CONVERTED
    shutil.rmtree(target, ignore_errors=True)
    _step(row, state=State.INSPECTING, state_reason=f"it is converted for {report.engine}")
    places.check_disk(report.size_bytes)
    preparation.to_ctranslate2(source, target)
    found = inspection.inspect(target)
    report.warnings.append(f"converted for {report.engine} when it came")
    return target, _found(row, target, found) | {
        "owns_files": True,
        "licence": report.licence or row.licence,
    }


def _found(row: Model, place: Path, report: reading.Report) -> dict[str, Any]:
    """What the inspection says, laid over the row. Raises: UnknownParameter, InvalidValue."""
    chosen = model_settings.changed({}, row.settings, report.engine)
    model_settings.check_context(chosen, report.context_tokens)
    return {
        "kind": report.kind,
        "engine": report.engine,
        "path": str(place / report.path) if report.path else str(place),
        "size_bytes": report.size_bytes,
        "quantization": report.quantization,
        "parameters": report.parameters,
        "licence": report.licence or row.licence,
        "context_tokens": report.context_tokens,
        "settings": chosen,
    }


def _fail(row: Model, error: Exception) -> None:
    """Other models are not touched; what was downloaded stays, to go on from."""
    if isinstance(error, OSError) and error.errno in outages.FULL_ERRORS:
        error = DiskFull(FULL)
    reason = error.message if isinstance(error, HubError) else plain(error)
    log.warning("model not added", extra={"model": row.name, "reason": reason})
    Model.objects.filter(pk=row.pk, state__in=ARRIVING).update(
        state=State.FAILED, state_reason=reason[:2000], bytes_per_s=0.0
    )
    catalog.invalidate()


def _step(row: Model, **fields: Any) -> None:
    """Raises: Gone."""
    if not Model.objects.filter(pk=row.pk, state__in=ARRIVING).update(**fields):
        raise Gone
    for field, value in fields.items():
        setattr(row, field, value)
    catalog.invalidate()


# --- files ----------------------------------------------------------------------------------------


def _in_place(row: Model) -> Path:
    """Copy the files if that was asked for; they may have changed since, so look again."""
    origin = places.allowed(row.origin)
    if not row.owns_files:
        return origin
    files = [origin] if origin.is_file() else [f for f in origin.rglob("*") if f.is_file()]
    total = sum(file.stat().st_size for file in files)
    with places.room_for(total, but=row.pk):
        _step(row, state=State.DOWNLOADING, total_bytes=total, done_bytes=0)
    note = _Note(row, total)
    target = places.own_folder(row.name, row.pk)
    shutil.rmtree(target, ignore_errors=True)
    try:
        for file in files:
            name = file.name if file == origin else str(file.relative_to(origin))
            _copy(file, places.safe_path(target, name), note)
    except OSError:  # a copy is not resumed, so what there is of it only takes room
        shutil.rmtree(target, ignore_errors=True)
        raise
    return target / origin.name if origin.is_file() else target


def _copy(source: Path, target: Path, note: "_Note") -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb") as reading_from, target.open("wb") as writing_to:
        while piece := reading_from.read(CHUNK_BYTES):
            writing_to.write(piece)
            note(writing_to.tell(), 0)
    note.finish(target.stat().st_size)


def _from_hub(row: Model) -> Path:
    """Download into a folder of the commit, so that two revisions never mix."""
    hub = hubs.configured()
    listing = hub.listing(row.origin, row.revision, row.files, lambda: _check_wanted(row))
    folder = places.own_folder(row.name, row.pk)
    target = folder / listing.commit[:12]
    paths = {file.name: places.safe_path(target, file.name) for file in listing.files}
    there = _bytes_in(target)
    fields = {"revision": listing.commit, "total_bytes": listing.size_bytes, "done_bytes": there}
    with places.room_for(listing.size_bytes - there, but=row.pk):
        _step(row, state=State.DOWNLOADING, licence=listing.licence, **fields)
    note = _Note(row, listing.size_bytes)
    for file in listing.files:
        hub.fetch(row.origin, listing.commit, file, paths[file.name], note)
        note.finish(file.size_bytes)
    _drop_others(folder, target)
    return target


def _check_wanted(row: Model) -> None:
    """Raises: Gone."""
    if not Model.objects.filter(pk=row.pk, state__in=ARRIVING).exists():
        raise Gone


def _uploaded(row: Model) -> Path:
    """Raises: WrongDigest, InvalidValue."""
    folder = places.own_folder(row.name, row.pk)
    for file in row.files:
        path = places.safe_path(folder, file["path"])
        if file.get("sha256") and sha256_of(path) != file["sha256"]:
            raise WrongDigest(f"{file['path']} is not what its SHA-256 said; upload it again")
    return folder


def _trained(row: Model) -> Path:
    return Path(row.origin)


_FETCH = {"huggingface": _from_hub, "upload": _uploaded, "trained": _trained}


def _bytes_in(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _drop_others(folder: Path, kept: Path) -> None:
    for other in folder.iterdir():
        if other != kept:
            shutil.rmtree(other, ignore_errors=True)


class _Note:
    """Write progress and speed into the row, once a second. Raises: Gone when it was cancelled."""

    def __init__(self, row: Model, total: int) -> None:
        self._row = row
        self._total = total
        self._finished = 0  # bytes of whole files
        self._noted_s = time.monotonic() - NOTE_EVERY_S  # the first bytes are told at once
        self._noted: int | None = None
        self._speed = 0.0

    def __call__(self, done: int, _total: int) -> None:
        now_s = time.monotonic()
        if now_s - self._noted_s >= NOTE_EVERY_S:
            self._write(self._finished + done, now_s)

    def add(self, size: int) -> None:
        """Count a part that is not known by its file."""
        self._finished += size
        self(0, 0)

    def finish(self, size: int) -> None:
        self._finished += size
        self._write(self._finished, time.monotonic())

    def _write(self, done: int, now_s: float) -> None:
        passed_s = max(now_s - self._noted_s, 1e-3)
        if self._noted is not None:
            seen = max(0, done - self._noted) / passed_s
            self._speed += (seen - self._speed) * (SMOOTHING if self._speed else 1.0)
        self._noted_s, self._noted = now_s, done
        fields = {"done_bytes": done, "bytes_per_s": self._speed}
        if not Model.objects.filter(pk=self._row.pk, state__in=ARRIVING).update(**fields):
            raise Gone
