"""What is done to files: they are taken in, listed, given out and removed. The row is the truth."""

import datetime as dt
import time
from collections.abc import Sequence

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts import audit, quotas
from accounts.principals import Principal
from inference.errors import NotFound, PermissionDenied
from training import allowance, store
from training.models import File, Files
from training.models.files import new_id

STORAGE: quotas.Kind = "storage_bytes"


def take(
    incoming: store.Incoming,
    who: Principal,
    filename: str,
    purpose: str,
    lives_s: int | None = None,
    *,
    holder: str = "",
) -> File:
    """Make a row of what came; whoever runs out of storage is told. Raises: RateLimited, OSError.

    `holder` has set as much aside before: that becomes the file's, in one step with its row.
    """
    file_id = new_id()
    if not holder:
        reserve(who, file_id, incoming.size_bytes)
    try:
        incoming.keep(file_id)
        return _created(file_id, incoming, who, filename, purpose, lives_s, holder)
    except BaseException:
        store.remove(file_id)
        quotas.release(STORAGE, file_id)
        raise


def reserve(who: Principal | quotas.Bearer, holder: str, size_bytes: int) -> None:
    """Raises: RateLimited."""
    allowance.reserve(who, STORAGE, size_bytes, holder)


def _created(
    file_id: str,
    incoming: store.Incoming,
    who: Principal,
    filename: str,
    purpose: str,
    lives_s: int | None,
    holder: str,
) -> File:
    expires_at = None if lives_s is None else timezone.now() + dt.timedelta(seconds=lives_s)
    team = {"team_id": who.team_id} if who.team_id else {}
    with transaction.atomic():
        row = File.objects.create(
            id=file_id,
            owner_id=who.user_id,
            filename=filename,
            purpose=purpose,
            size_bytes=incoming.size_bytes,
            sha256=incoming.sha256,
            expires_at=expires_at,
            **team,
        )
        if holder:
            quotas.move(STORAGE, holder, file_id)
        after = {"purpose": purpose, "size_bytes": row.size_bytes, "sha256": row.sha256}
        audit.record("file.add", "file", filename, pk=row.pk, after=after)
    return row


def find(file_id: str, who: Principal) -> File:
    """Raises: NotFound, also for what they may not see."""
    row = File.objects.there().visible_to(who).filter(pk=file_id[:64]).first()
    if row is None:
        raise NotFound(f"No such File object: {file_id[:64]}")
    return row


def page(
    who: Principal, *, purpose: str, after: str, limit: int, newest_first: bool
) -> tuple[Sequence[File], bool]:
    """Give some files, and whether there are more. Raises: NotFound where `after` is none."""
    rows = File.objects.there().visible_to(who)
    if purpose:
        rows = rows.filter(purpose=purpose)
    rows = (
        rows.order_by("-created_at", "-id") if newest_first else rows.order_by("created_at", "id")
    )
    if after:
        rows = _behind(rows, find(after, who), newest_first)
    found = list(rows[: limit + 1])
    return found[:limit], len(found) > limit


def _behind(rows: Files, last: File, newest_first: bool) -> Files:
    """Two files of one moment are told apart by their ids."""
    way = "lt" if newest_first else "gt"
    later = Q(**{f"created_at__{way}": last.created_at})
    return rows.filter(later | Q(created_at=last.created_at, **{f"id__{way}": last.pk}))


def remove(file_id: str, who: Principal) -> File:
    """Take away the row, then the bytes. Raises: NotFound, PermissionDenied."""
    row = find(file_id, who)
    if not who.allows_in("files:write", row.ownership[0]):
        raise PermissionDenied("This file is another team's: you may read it, but not remove it.")
    _forget(row)
    return row


def sweep() -> int:
    """Remove what has run out, the worker's hourly task; give how many."""
    store.sweep(time.time())
    found = list(File.objects.over()[:500])
    for row in found:
        _forget(row)
    return len(found)


def _forget(row: File) -> None:
    file_id = row.pk
    with transaction.atomic():
        audit.record("file.remove", "file", row.filename, pk=file_id)
        File.objects.filter(pk=file_id).delete()
        quotas.release(STORAGE, file_id)
    store.remove(file_id)
