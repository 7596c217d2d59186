"""`manage.py audit_export`: the audit log as NDJSON or CSV on stdout, its anchor on stderr."""

from typing import Any

from django.core.management.base import CommandParser

from accounts import audit, exports
from accounts.commands import HubCommand
from accounts.models import AuditRow


class Command(HubCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--format", choices=sorted(exports.FORMATS), default="ndjson")

    def handle(self, *_: Any, **given: Any) -> None:
        audit.record("audit.export", "audit", given["format"])
        for line in exports.lines(given["format"], audit.rows()):
            self.stdout.write(line, ending="")
        last = AuditRow.objects.order_by("-seq").first()
        if last is not None:
            self.stderr.write(f"last row: {last.seq}  head: {last.hash}")
