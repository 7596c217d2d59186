"""Hash the files of models again, and say which are no longer what they were when they came."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.commands import HubCommand
from inference import verifying
from inference.models import Model


class Command(HubCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="*", help="which; all that are here if none is named")

    def handle(self, *_args: Any, **options: Any) -> None:
        rows = Model.objects.filter(state=Model.State.AVAILABLE).exclude(source="remote")
        if names := set(options["names"]):
            rows = rows.filter(name__in=names)
            if unknown := names - set(rows.values_list("name", flat=True)):
                raise CommandError(f"There are no files here of: {', '.join(sorted(unknown))}.")
        damaged = [row.name for row in rows.order_by("name") if self._is_damaged(row)]
        if damaged:
            raise CommandError(f"Damaged: {', '.join(damaged)}. Remove and add them again.")

    def _is_damaged(self, row: Model) -> bool:
        damage = verifying.verify(row)
        self.stdout.write(f"{row.name}: {'; '.join(damage) or 'as it came'}")
        return bool(damage)
