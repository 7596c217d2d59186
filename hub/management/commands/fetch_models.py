"""Fetch the starter models that are missing, and check what is there."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from accounts.commands import HubCommand
from hub.progress import Progress
from inference import preparation, sources, starters
from inference.downloads import DownloadFailed


class Command(HubCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--size", choices=starters.SIZES, default=settings.HUB_MODEL_SIZE)
        parser.add_argument(
            "--all",
            action="store_true",
            help="also make the models that come by conversion, now instead of in the background",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        root = settings.HUB_MODELS
        chosen = starters.chosen(options["size"])
        try:
            sources.fetch(chosen, root, Progress(self.stdout))  # type: ignore[arg-type]
            for starter in chosen if options["all"] else []:
                self._convert(starter)
        except (DownloadFailed, preparation.PreparationFailed, OSError) as error:
            raise CommandError(f"The starter models could not be fetched: {error}") from error
        for starter in chosen:
            state = "ready" if starter.is_present(root) else "made at the first start"
            self.stdout.write(f"{starter.name}: {state} ({starter.folder(root)})")

    def _convert(self, starter: starters.Starter) -> None:
        if starter.converted_from and not starter.is_present(settings.HUB_MODELS):
            self.stdout.write(f"{starter.name}: converting from {starter.converted_from} ...")
            preparation.convert(starter, settings.HUB_MODELS)
