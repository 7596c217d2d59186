"""`manage.py audit_prune`: remove old rows of the audit log, under a checkpoint that proves the rest."""

import datetime as dt
from functools import partial
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from accounts import retention
from accounts.commands import HubCommand


class Command(HubCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--days", type=int, required=True, help="keep what is younger")
        parser.add_argument("--file", type=Path, required=True, help="a new file for the old rows")

    def handle(self, *_: Any, days: int, file: Path, **__: Any) -> None:
        if not 1 <= days <= 36_500:
            raise CommandError("--days is a whole number from 1 to 36500.")

        before = timezone.now() - dt.timedelta(days=days)
        try:
            count = retention.prune(before, partial(retention.save, file))
        except (retention.ChainBroken, OSError, ValueError) as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{count} rows removed" + (f", kept in {file}" if count else ""))
