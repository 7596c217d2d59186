"""Rows of the audit log. Only `accounts.audit` writes them; the database refuses to change them."""

import datetime as dt
import json
from typing import Any

from django.db import models
from django.db.models import Q
from django.utils import timezone

DIGEST_CHARS = 64
TEXT_FIELDS = ("actor", "key_id", "object_name", "object_id", "address", "request_id")


class AuditRows(models.QuerySet["AuditRow"]):
    """Reads of the log; every condition is optional."""

    def search(
        self,
        *,
        who: str = "",
        action: str = "",
        object_kind: str = "",
        text: str = "",
        since: dt.datetime | None = None,
        until: dt.datetime | None = None,
    ) -> "AuditRows":
        """Narrow by actor or key, by an action or its family, by kind of object, words and time."""
        rows = self
        if who:
            rows = rows.filter(Q(actor=who) | Q(key_id=who))
        if action:
            rows = rows.filter(Q(action=action) | Q(action__startswith=f"{action}."))
        if object_kind:
            rows = rows.filter(object_kind=object_kind)
        if text:
            found = Q(before__icontains=text) | Q(after__icontains=text)
            for field in TEXT_FIELDS:
                found |= Q(**{f"{field}__icontains": text})
            rows = rows.filter(found)
        if since:
            rows = rows.filter(at__gte=since)
        return rows.filter(at__lt=until) if until else rows


class AuditRow(models.Model):
    """Who did what to which object, what it was before and after, and from where.

    `hash` covers all other fields and, by `previous`, every row before. Labels are copies: no
    foreign key, so they outlive what they name. Not managed by Django: its table is made in a
    migration with its triggers, and `flush` leaves it alone.
    """

    class Outcome(models.TextChoices):
        DONE = "done"
        REFUSED = "refused"
        FAILED = "failed"

    seq = models.BigIntegerField(primary_key=True)  # 1, 2, 3 ... without a gap
    at = models.DateTimeField(default=timezone.now, db_index=True)
    action = models.CharField(max_length=64, db_index=True)  # noun.verb
    outcome = models.CharField(max_length=16, choices=Outcome.choices, default=Outcome.DONE)
    times = models.IntegerField(default=1)  # of the same within a minute
    actor_kind = models.CharField(max_length=16)
    actor = models.CharField(max_length=150, blank=True, db_index=True)
    actor_id = models.BigIntegerField(null=True)
    key_id = models.CharField(max_length=64, blank=True)
    object_kind = models.CharField(max_length=32)
    object_id = models.CharField(max_length=64, blank=True)
    object_name = models.CharField(max_length=200, blank=True, db_index=True)
    before = models.TextField(blank=True)  # JSON as it was hashed, "" where there is none
    after = models.TextField(blank=True)
    address = models.CharField(max_length=64, blank=True)
    request_id = models.CharField(max_length=128, blank=True)
    through = models.BigIntegerField(null=True)  # of a checkpoint: the last row that may be removed
    previous = models.CharField(max_length=DIGEST_CHARS)
    hash = models.CharField(max_length=DIGEST_CHARS)

    objects = AuditRows.as_manager()

    class Meta:
        managed = False
        db_table = "accounts_auditrow"
        ordering = ("-seq",)

    def __str__(self) -> str:
        return f"{self.seq} {self.action} {self.object_name}"

    @property
    def before_values(self) -> dict[str, Any] | None:
        return json.loads(self.before) if self.before else None

    @property
    def after_values(self) -> dict[str, Any] | None:
        return json.loads(self.after) if self.after else None
