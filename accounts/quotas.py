"""Quotas on what lasts: bytes on the disk, minutes of training in 30 days. Data sets and jobs call it.

`reserve` before the bytes come or the job starts, `settle` with what it came to, `release` when it is
gone. Rows, not Redis: they must outlive everything. The limits are those of `accounts.limit_rows`.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Literal

from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from accounts.models import Holding, HoldingShare, Limit
from accounts.principals import Principal
from accounts.quota import EVERYONE

Kind = Literal["storage_bytes", "training_minutes"]
WINDOW = dt.timedelta(days=30)  # of training; storage counts for as long as it lies there
_WORDS = {"storage_bytes": "bytes of storage", "training_minutes": "minutes of training in 30 days"}


class QuotaReached(Exception):
    """There is not so much left; `left` says how much is."""

    def __init__(self, kind: Kind, whose: str, limit: int, left: int) -> None:
        self.kind, self.limit, self.left = kind, limit, left
        super().__init__(
            f"The quota of this {whose} is {limit} {_WORDS[kind]}, of which {left} are left."
        )


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom something counts for where nobody is asking; a person who is gone counts no more."""

    user_id: int | None
    team_id: int | None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a subject stands: `limit` 0 means none."""

    subject: str
    limit: int
    used: int


def reserve(who: Principal | Bearer, kind: Kind, amount: int, holder: str) -> None:
    """Set so much aside for `holder`, such as `job:7`; again for the same one changes it.

    Counted for the person and the team. Raises: QuotaReached, with nothing changed.
    """
    subjects = _subjects(who)
    with transaction.atomic():
        limits = _limits(kind, subjects)
        for subject, limit in limits.items():
            left = limit - _used(kind, subject, but=holder)
            if limit and amount > left:
                rest = limit - _used(kind, subject)
                raise QuotaReached(kind, subject.partition(":")[0], limit, max(0, rest))
        _keep(subjects, kind, amount, holder, settled=False)


def _keep(subjects: list[str], kind: Kind, amount: int, holder: str, *, settled: bool) -> None:
    holding, _ = Holding.objects.update_or_create(
        kind=kind, holder=holder, defaults={"amount": amount, "settled": settled}
    )
    for subject in subjects:
        HoldingShare.objects.get_or_create(holding=holding, subject=subject)


def settle(kind: Kind, holder: str, used: int) -> None:
    """Put what it really took in place of what was set aside; also where that is more."""
    Holding.objects.filter(kind=kind, holder=holder).update(amount=used, settled=True)


def count(who: Principal | Bearer, kind: Kind, used: int, holder: str) -> None:
    """Count what lies there already, also beyond the limit, and whether or not it was set aside."""
    with transaction.atomic():
        _keep(_subjects(who), kind, used, holder, settled=True)


def promised(kind: Kind, prefix: str) -> dict[str, int]:
    """Give what is set aside and not settled yet, by holders whose names begin so."""
    rows = Holding.objects.filter(kind=kind, holder__startswith=prefix, settled=False)
    return dict(rows.values_list("holder", "amount"))


def release(kind: Kind, holder: str) -> None:
    """Give all of it back: the file is gone, the job never ran."""
    Holding.objects.filter(kind=kind, holder=holder).delete()


def move(kind: Kind, holder: str, to: str) -> None:
    """Let another holder have what was set aside, for the same people: nobody gets in between."""
    Holding.objects.filter(kind=kind, holder=holder).update(holder=to)


def is_held(kind: Kind, holder: str) -> bool:
    return Holding.objects.filter(kind=kind, holder=holder).exists()


def standing(who: Principal | Bearer, kind: Kind) -> list[Standing]:
    """Tell limit and use of the person and the team."""
    limits = _limits(kind, _subjects(who))
    return [Standing(subject, limit, _used(kind, subject)) for subject, limit in limits.items()]


def _subjects(who: Principal | Bearer) -> list[str]:
    named = (("user", who.user_id), ("team", who.team_id))
    return [f"{kind}:{pk}" for kind, pk in named if pk]


def _limits(kind: Kind, subjects: list[str]) -> dict[str, int]:
    """Read the limits, locked where the database can, so that two do not take the same rest."""
    rows = Limit.objects.filter(subject__in=[*subjects, EVERYONE])
    if transaction.get_connection().in_atomic_block:
        rows = rows.select_for_update()
    given = {row.subject: getattr(row, kind) for row in rows.order_by("subject")}
    everyone = given.get(EVERYONE) or 0
    found = {}
    for subject in subjects:
        usual = everyone if subject.startswith("user:") else 0
        own = given.get(subject)
        found[subject] = usual if own is None else own
    return found


def _used(kind: Kind, subject: str, but: str = "") -> int:
    held = Holding.objects.filter(kind=kind, shares__subject=subject).exclude(holder=but)
    if kind == "training_minutes":
        held = held.filter(at__gte=timezone.now() - WINDOW)
    return held.aggregate(sum=Sum("amount"))["sum"] or 0
