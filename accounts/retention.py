"""Old rows of the audit log leave under a checkpoint, which proves where the chain goes on."""

import datetime as dt
import json
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import actors, audit, chain, exports, sealing
from accounts.models import AuditRow

PLACE = "audit.checkpoint"
CHUNK_ROWS = 1000


class ChainBroken(Exception):
    """The log is not whole: nothing may be removed from it before somebody looked."""


def prune(before: dt.datetime, keep: Callable[[Iterator[dict[str, Any]]], None]) -> int:
    """Remove the rows older than `before` and give how many; `keep` is handed them first.

    Raises: ChainBroken, ValueError where the anchor is damaged, and what `keep` raises.
    """
    if (fault := audit.verify().fault) is not None:
        raise ChainBroken(f"The audit log is broken at {fault}; nothing was removed.")
    with transaction.atomic():
        audit.take_turn()
        last = _last_before(before)
        if last is None:
            return 0
        old = AuditRow.objects.filter(seq__lte=last.seq)
        keep(audit.rows(old))
        count = old.count()
        _mark(last, count)
        old.delete()
    return count


def sweep() -> int:
    """Move what is older than the setting says into a file, once a day; give how many rows."""
    if not settings.HUB_AUDIT_DAYS:
        return 0
    midnight = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    before = midnight - dt.timedelta(days=settings.HUB_AUDIT_DAYS)
    if not AuditRow.objects.filter(at__lt=before).exclude(action=chain.CHECKPOINT).exists():
        return 0
    folder = Path(settings.HUB_DATA) / "audit"
    folder.mkdir(mode=0o700, exist_ok=True)
    return prune(before, partial(save, folder / f"until-{before:%Y-%m-%d}-{time.time_ns()}.ndjson"))


def save(file: Path, rows: Iterator[dict[str, Any]]) -> None:
    """Write a new file, and have it on the disk. Raises: OSError."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.writelines(exports.lines("ndjson", rows))
        out.flush()
        os.fsync(out.fileno())


def _last_before(before: dt.datetime) -> AuditRow | None:
    """Clocks may go back: the row before the first one that stays."""
    stays = AuditRow.objects.filter(at__gte=before).order_by("seq").first()
    rows = AuditRow.objects.order_by("-seq")
    return rows.first() if stays is None else rows.filter(seq__lt=stays.seq).first()


def _mark(last: AuditRow, count: int) -> None:
    proof = sealing.proof(PLACE, f"{last.seq}:{last.hash}")
    after = json.dumps({"hash": last.hash, "rows": count, "proof": proof}, sort_keys=True)
    fields = {"action": chain.CHECKPOINT, "object_kind": "audit", "object_name": f"1-{last.seq}"}
    audit.append({**fields, "after": after, "through": last.seq}, actors.now())
