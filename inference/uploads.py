"""Model files from a browser: parts of 8 MiB, checked one by one, taken up again after any break.

A part is written to its place in the file and only then noted, so what is noted is on disk.
"""

import contextlib
import datetime as dt
import hashlib
import logging
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from inference import catalog, entries, places, trail
from inference.errors import Conflict, InvalidValue, NotFound
from inference.models import Model, Upload, UploadPart

log = logging.getLogger(__name__)

PART_BYTES = 8 * 2**20
MAX_FILES = 500
MAX_FILE_BYTES = 2**43
KEPT = dt.timedelta(days=2)  # without a part
GOES_ON = frozenset({Model.State.UPLOADING, Model.State.CANCELLED})  # its parts are kept
DIGEST = re.compile(r"[0-9a-f]{64}")
TAKEN = re.compile(
    r"(.*/)?([^/]+\.(safetensors|gguf|json|txt|jinja|model|spm|tiktoken|md)|model\.bin|LICENSE)",
    re.IGNORECASE,
)


def begin(
    name: str, files: list[dict[str, Any]], *, owner_id: int, base: str = "", **fields: Any
) -> Upload:
    """Say what will come. Raises: InvalidValue, Conflict, DiskFull, ModelNotFound."""
    sweep()
    entries.check_name(name)
    _check_files(files)
    total = sum(file["size_bytes"] for file in files)
    with places.room_for(total), transaction.atomic():
        row = entries.create(
            name,
            source="upload",
            base=entries.base_of(base) if base else None,
            files=files,
            owns_files=True,
            state=Model.State.UPLOADING,
            total_bytes=total,
            **fields,
        )
        Upload.objects.filter(model=row).delete()
        upload = Upload.objects.create(
            id=secrets.token_hex(16), model=row, owner_id=owner_id, files=files
        )
    places.remove_owned(_folder(upload))  # parts of an earlier one may still be on their way there
    return upload


def find(key: str, owner_id: int) -> Upload:
    """Give a person's own upload. Raises: NotFound."""
    rows = Upload.objects.select_related("model")
    found = rows.filter(pk=key, owner_id=owner_id).first()
    if found is None:
        raise NotFound("there is no such upload, or it is not yours")
    return found


def put(upload: Upload, file: int, number: int, data: bytes, sha256: str) -> None:
    """Keep one part; the same part may come twice. Raises: InvalidValue, Conflict, OSError."""
    _check_part(upload, file, number, data, sha256)
    with _going_on(upload):
        _write(_path(upload, file), number * PART_BYTES, data)
        with transaction.atomic():
            _check_open(upload)
            _, is_new = UploadPart.objects.update_or_create(
                upload=upload, file=file, number=number, defaults={"sha256": sha256}
            )
            added = len(data) if is_new else 0
            Model.objects.filter(pk=upload.model_id).update(done_bytes=F("done_bytes") + added)
            Upload.objects.filter(pk=upload.pk).update(touched_at=timezone.now())


@contextlib.contextmanager
def _going_on(upload: Upload) -> Iterator[None]:
    """Hold the folder while it is written to: who completes or gives up waits. Raises: Conflict."""
    folder = _folder(upload)
    _check_open(upload)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with places.held(folder, alone=False):
            _check_open(upload)
            yield
    except FileNotFoundError:  # removed since
        _check_open(upload)
        raise
    finally:
        if not Model.objects.filter(pk=upload.model_id).exists():  # made again just now
            places.remove_owned(folder)


def _check_open(upload: Upload) -> None:
    """Raises: Conflict."""
    rows = Upload.objects.select_for_update().filter(pk=upload.pk)
    with transaction.atomic():
        if not rows.filter(model__state=Model.State.UPLOADING).exists():
            raise Conflict("this upload was cancelled or is complete")


def reopen(upload: Upload) -> None:
    """Go on with one that was stopped, or take another breath. Raises: Conflict, DiskFull."""
    mine = Model.objects.filter(pk=upload.model_id, state__in=GOES_ON)
    left = max(0, upload.model.total_bytes - upload.model.done_bytes)
    with places.room_for(left, but=upload.model_id), transaction.atomic():
        if not mine.update(state=Model.State.UPLOADING, state_reason=""):
            raise Conflict("this upload is complete")
        Upload.objects.filter(pk=upload.pk).update(touched_at=timezone.now())
        trail.model("resume", upload.model)
        catalog.invalidate()


def missing(upload: Upload) -> list[list[int]]:
    """List, for each file, the numbers of the parts that are not there yet."""
    there = set(upload.parts.values_list("file", "number"))
    return [
        [number for number in range(_parts(file)) if (place, number) not in there]
        for place, file in enumerate(upload.files)
    ]


def complete(upload: Upload) -> Model:
    """Hand over to the worker, which inspects the files. Raises: Conflict."""
    _check_whole(upload)
    with contextlib.suppress(FileNotFoundError), places.held(_folder(upload), alone=True):
        return _completed(upload)
    raise Conflict("this upload was cancelled or is complete")


def _completed(upload: Upload) -> Model:
    with transaction.atomic():
        _check_whole(upload)
        mine = Model.objects.filter(pk=upload.model_id, state=Model.State.UPLOADING)
        if not mine.update(state=Model.State.QUEUED):
            raise Conflict("this upload was cancelled or is complete")
        upload.delete()
        catalog.invalidate()
        trail.model("upload", upload.model)
    return Model.objects.select_related("base", "variant_of").get(pk=upload.model_id)


def _check_whole(upload: Upload) -> None:
    """Raises: Conflict."""
    if left := sum(len(numbers) for numbers in missing(upload)):
        raise Conflict(f"{left} parts are missing")


def abandon(upload: Upload) -> None:
    """Forget it, with what has come."""
    entries.remove(upload.model, force=True)


def sweep() -> int:
    """Forget uploads that nobody goes on with; give how many. What was half removed goes too."""
    places.sweep()
    old = Upload.objects.filter(touched_at__lt=timezone.now() - KEPT).select_related("model")
    for upload in (found := list(old)):
        log.info("upload swept", extra={"model": upload.model.name})
        abandon(upload)
    return len(found)


def _check_files(files: list[dict[str, Any]]) -> None:
    """Raises: InvalidValue."""
    names = [file["path"] for file in files]
    different = {PurePosixPath(name.lower()) for name in names}
    if not 1 <= len(files) <= MAX_FILES or len(different) < len(names):
        raise InvalidValue(f"an upload has 1 to {MAX_FILES} different files", param="files")
    if folders := different & {above for path in different for above in path.parents}:
        raise InvalidValue(f"{min(folders)} is a file and a folder", param="files")
    for name in names:
        places.safe_path(Path("/"), name)
        if not TAKEN.fullmatch(name):
            raise InvalidValue(
                f"{name}: models come as safetensors, GGUF or CTranslate2 files with their"
                " tokenizer and configuration; nothing else is taken",
                param="files",
            )


def _check_part(upload: Upload, file: int, number: int, data: bytes, sha256: str) -> None:
    """Raises: InvalidValue, NotFound."""
    if file >= len(upload.files) or number >= _parts(upload.files[file]):
        raise NotFound("there is no such part")
    size = min(PART_BYTES, upload.files[file]["size_bytes"] - number * PART_BYTES)
    if len(data) != size:
        raise InvalidValue(f"this part has {size} bytes, not {len(data)}")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InvalidValue("the part is not what its SHA-256 says; send it again", param="sha256")


def _parts(file: dict[str, Any]) -> int:
    return -(-int(file["size_bytes"]) // PART_BYTES)


def _folder(upload: Upload) -> Path:
    return places.own_folder(upload.model.name, upload.model_id)


def _path(upload: Upload, file: int) -> Path:
    return places.safe_path(_folder(upload), upload.files[file]["path"])


def _write(path: Path, offset: int, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o640)
    try:
        done = 0
        while done < len(data):
            done += os.pwrite(handle, data[done:], offset + done)
        os.fsync(handle)
    finally:
        os.close(handle)
