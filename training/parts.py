"""What is done to files that come in parts: begun, given parts, joined to a file, given up. The row is the truth."""

import datetime as dt
import hashlib

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from accounts import audit, quotas
from accounts.principals import Principal
from inference.errors import Conflict, HubError, InvalidValue, NotFound, PermissionDenied
from inference.openai import uploads as protocol
from training import files, store
from training.models import File, FilePart, FileUpload
from training.models.uploads import new_part_id, new_upload_id

SCOPE = "files:write"
KEPT = dt.timedelta(days=1)  # for an upload to be completed
State = FileUpload.State


def begin(wanted: protocol.Create, who: Principal) -> FileUpload:
    """Set the storage aside. Raises: RateLimited, DiskFull."""
    store.check_disk(wanted.bytes)
    upload_id = new_upload_id()
    files.reserve(who, upload_id, wanted.bytes)
    team = {"team_id": who.team_id} if who.team_id else {}
    with transaction.atomic():
        upload = FileUpload.objects.create(
            id=upload_id,
            owner_id=who.user_id,
            filename=wanted.filename,
            purpose=wanted.purpose,
            size_bytes=wanted.bytes,
            lives_s=wanted.expires_after.seconds if wanted.expires_after else None,
            expires_at=timezone.now() + KEPT,
            **team,
        )
        after = {"bytes": wanted.bytes, "purpose": wanted.purpose}
        audit.record("file.upload", "file", upload.filename, pk=upload.pk, after=after)
    return upload


def add(upload_id: str, incoming: store.Incoming, who: Principal) -> FilePart:
    """Keep a part. Raises: NotFound, PermissionDenied, Conflict, InvalidValue, OSError."""
    upload = _open(upload_id, who)
    _check_room(upload, incoming.size_bytes)
    part_id = new_part_id()
    incoming.keep(part_id)
    try:
        with transaction.atomic():
            rows = FileUpload.objects.select_for_update()
            if not rows.filter(pk=upload.pk, state=State.PENDING).exists():
                raise Conflict("The upload has ended meanwhile.")
            _check_room(upload, incoming.size_bytes)
            return FilePart.objects.create(
                id=part_id, upload=upload, size_bytes=incoming.size_bytes
            )
    except BaseException:
        store.remove(part_id)
        raise


def _check_room(upload: FileUpload, size_bytes: int) -> None:
    """Raises: InvalidValue."""
    there = upload.parts.aggregate(sum=Sum("size_bytes"))["sum"] or 0
    if not size_bytes:
        raise InvalidValue("The part is empty.", param="data")
    if there + size_bytes > upload.size_bytes or upload.parts.count() >= protocol.MAX_PARTS:
        words = f"{there} of {upload.size_bytes} bytes are here: this part is too much."
        raise InvalidValue(words, param="data")


def complete(upload_id: str, wanted: protocol.Complete, who: Principal) -> tuple[FileUpload, File]:
    """Join the parts in the order given; what was joined before is given again.

    A client whose answer got lost asks once more. Raises: as `add`; RateLimited.
    """
    if joined := _joined(upload_id, who):
        return joined
    try:
        return _join(_open(upload_id, who), wanted, who)
    except (HubError, OSError):
        if joined := _joined(upload_id, who):  # another call was first
            return joined
        raise


def _join(upload: FileUpload, wanted: protocol.Complete, who: Principal) -> tuple[FileUpload, File]:
    _check_parts(upload, wanted.part_ids)
    with store.Incoming() as incoming:
        digest = hashlib.md5(usedforsecurity=False)
        for part_id in wanted.part_ids:
            for block in store.blocks(part_id):
                incoming.write(block)
                digest.update(block)
        if wanted.md5 and digest.hexdigest() != wanted.md5.lower():
            raise InvalidValue("The joined parts have another MD5: send them again.", param="md5")
        file = _taken(upload, incoming, who)
    _forget_parts(upload)
    return upload, file


def _joined(upload_id: str, who: Principal) -> tuple[FileUpload, File] | None:
    """Give the upload and its file, where both are there and may be seen."""
    ended = FileUpload.objects.visible_to(who).filter(pk=upload_id[:64], state=State.COMPLETED)
    upload = ended.first()
    if upload is None or not who.allows_in(SCOPE, upload.ownership[0]):
        return None
    file = File.objects.visible_to(who).filter(pk=upload.file_id).first()
    return (upload, file) if file else None


def _check_parts(upload: FileUpload, part_ids: list[str]) -> None:
    """Raises: InvalidValue."""
    sizes = dict(upload.parts.values_list("pk", "size_bytes"))
    if len(set(part_ids)) < len(part_ids) or not set(part_ids) <= sizes.keys():
        raise InvalidValue("Name each part of this upload once.", param="part_ids")
    total = sum(sizes[part_id] for part_id in part_ids)
    if total != upload.size_bytes:
        words = f"The parts have {total} bytes together, not the {upload.size_bytes} announced."
        raise InvalidValue(words, param="part_ids")


def _taken(upload: FileUpload, incoming: store.Incoming, who: Principal) -> File:
    """Make the file, which counts from now on in place of the upload.

    Raises: Conflict, OSError; the upload then keeps its storage.
    """
    about = upload.filename, upload.purpose, upload.lives_s
    file = files.take(incoming, who, *about, holder=upload.pk)
    rows = FileUpload.objects.filter(pk=upload.pk, state=State.PENDING)
    if not rows.update(state=State.COMPLETED, file_id=file.pk):
        files.remove(file.pk, who)
        raise Conflict("The upload has ended meanwhile.")
    upload.refresh_from_db()
    return file


def cancel(upload_id: str, who: Principal) -> FileUpload:
    """Give it up, with what has come. Raises: NotFound, PermissionDenied, Conflict."""
    upload = _open(upload_id, who)
    if not _end(upload, State.CANCELLED):
        raise Conflict("The upload has ended meanwhile.")
    return upload


def sweep() -> int:
    """Give up what nobody completed in time, the worker's hourly task; give how many."""
    old = FileUpload.objects.filter(state=State.PENDING, expires_at__lte=timezone.now())
    return sum(_end(upload, State.EXPIRED) for upload in list(old[:500]))


def _end(upload: FileUpload, state: str) -> bool:
    with transaction.atomic():
        rows = FileUpload.objects.filter(pk=upload.pk, state=State.PENDING)
        if not rows.update(state=state):
            return False
        quotas.release(files.STORAGE, upload.pk)
        after = {"state": str(state)}
        audit.record("file.give_up", "file", upload.filename, pk=upload.pk, after=after)
    _forget_parts(upload)
    upload.refresh_from_db()
    return True


def _forget_parts(upload: FileUpload) -> None:
    for part in upload.parts.all():
        store.remove(part.pk)
        part.delete()


def _open(upload_id: str, who: Principal) -> FileUpload:
    """Raises: NotFound, also for what they may not see; PermissionDenied, Conflict."""
    upload = FileUpload.objects.visible_to(who).filter(pk=upload_id[:64]).first()
    if upload is None:
        raise NotFound(f"No such Upload object: {upload_id[:64]}")
    if not who.allows_in(SCOPE, upload.ownership[0]):
        raise PermissionDenied("This upload is another team's.")
    if upload.state != State.PENDING or upload.expires_at <= timezone.now():
        raise Conflict(f"The upload is {upload.state}: begin a new one.")
    return upload
