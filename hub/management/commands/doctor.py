"""Say what is wrong on this machine and how to mend it."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from hub import doctor


class Command(BaseCommand):
    help = __doc__ or ""
    requires_system_checks = []  # they are among what it reports

    def handle(self, *_args: Any, **_options: Any) -> None:
        problems = 0
        for finding in doctor.examine():
            problems += not finding.ok
            mark = self.style.SUCCESS("ok     ") if finding.ok else self.style.ERROR("PROBLEM")
            self.stdout.write(f"{mark}  {finding.what}: {finding.detail}")
            if finding.cure:
                end = "" if finding.cure.endswith((".", "?")) else "."
                self.stdout.write(f"         {finding.cure}{end}")
        if problems:
            sys.exit(f"{problems} problem{'s' if problems > 1 else ''} found.")
        self.stdout.write("Nothing is wrong.")
