"""When the chain of the audit log was last walked, and what was found; pages and API ask here."""

import datetime as dt
import json
from dataclasses import asdict, dataclass

from django.utils import timezone

from accounts import audit, connections
from accounts.models import AuditRow

REDIS_KEY = "hub:audit:verdict"
AT_ONCE_ROWS = 5_000  # so many are walked while somebody waits for a page


@dataclass(frozen=True, slots=True)
class Verdict:
    """A walk: up to which row the chain is whole, or which row breaks it."""

    whole: bool
    rows: int
    first: int
    last: int
    head: str
    fault: str
    checked_at: str  # ISO, UTC

    @property
    def at(self) -> dt.datetime:
        return dt.datetime.fromisoformat(self.checked_at)


def look() -> Verdict:
    """Walk the whole chain now."""
    now = timezone.now().astimezone(dt.UTC).isoformat(timespec="seconds")
    try:
        found = audit.verify()
    except ValueError as error:  # the anchor is damaged
        verdict = Verdict(False, 0, 0, 0, "", str(error), now)
    else:
        plain = (found.rows, found.first, found.last, found.head)
        verdict = Verdict(found.fault is None, *plain, str(found.fault or ""), now)
    _keep(verdict)
    return verdict


def latest() -> Verdict | None:
    """Give the last walk of any process; walk now where the log is short. None: nobody walked it."""
    is_short = AuditRow.objects.all()[: AT_ONCE_ROWS + 1].count() <= AT_ONCE_ROWS
    return look() if is_short else _kept()


def _keep(verdict: Verdict) -> None:
    try:
        with connections.in_thread() as client:
            client.set(REDIS_KEY, json.dumps(asdict(verdict)))
    except connections.Away:
        return


def _kept() -> Verdict | None:
    try:
        with connections.in_thread() as client:
            text = client.get(REDIS_KEY)
    except connections.Away:
        return None
    return Verdict(**json.loads(text)) if text else None
