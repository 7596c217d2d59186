"""`manage.py audit_verify`: walk the chain of the audit log, and name the first row that is wrong."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import anchors, audit, chain, exports
from accounts.chain import Anchor, Verdict
from accounts.commands import HubCommand


class Command(HubCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--file", type=Path, help="an NDJSON export instead of the database")
        parser.add_argument(
            "--after-restore",
            action="store_true",
            help="the database is an older one on purpose: note its end as the anchor",
        )

    def handle(self, *_: Any, file: Path | None, after_restore: bool, **__: Any) -> None:
        try:
            verdict = _of_file(file) if file else audit.verify(anchored=not after_restore)
        except (OSError, ValueError) as error:
            raise CommandError(str(error)) from None
        if verdict.fault is not None:
            raise CommandError(f"The audit log is broken at {verdict.fault}.")
        self._tell(verdict)
        if after_restore and not file:
            self._accept(verdict)
        elif not file and verdict.rows and anchors.read() is None:
            raise CommandError(
                f"Nothing proves where the log ended: {anchors.place()} is gone. If this machine never"
                " had it, as after a restore, run audit_verify --after-restore once."
            )

    def _tell(self, verdict: Verdict) -> None:
        self.stdout.write(f"whole: {verdict.rows} rows, {verdict.first} to {verdict.last}")
        self.stdout.write(f"head: {verdict.head}")

    def _accept(self, verdict: Verdict) -> None:
        before = anchors.read()
        anchors.reset(Anchor(verdict.last, verdict.head))
        was = None if before is None else {"rows": before.seq, "hash": before.hash}
        audit.record("audit.restore", "audit", "anchor", before=was, after={"rows": verdict.last})
        self.stdout.write("the anchor is set to it, and the log says so")


def _of_file(file: Path) -> Verdict:
    with file.open(encoding="utf-8") as lines:
        return chain.verify(exports.read(lines))
