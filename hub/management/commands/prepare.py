"""Bring the data folder up to date: database, starter models, catalog. `runhub` does it first."""

from typing import Any

from django.conf import settings
from django.core.management import call_command

from accounts.commands import HubCommand
from hub.prepared import pending_migrations
from hub.progress import Progress
from inference import sources, starter_rows, starters
from inference.downloads import DownloadFailed


class Command(HubCommand):
    help = __doc__ or ""

    def handle(self, *_args: Any, **_options: Any) -> None:
        (settings.HUB_DATA / "import").mkdir(mode=0o700, exist_ok=True)
        self._migrate()
        self._fetch()
        starter_rows.ensure()

    def _migrate(self) -> None:
        if pending := pending_migrations():
            self.stdout.write(f"database: applying {pending} migrations")
            call_command("migrate", verbosity=0, interactive=False)

    def _fetch(self) -> None:
        """Without a network the hub starts all the same, and says which models are missing."""
        chosen = starters.chosen(settings.HUB_MODEL_SIZE)
        try:
            sources.fetch(chosen, settings.HUB_MODELS, Progress(self.stdout))  # type: ignore[arg-type]
        except (DownloadFailed, OSError) as error:
            self.stderr.write(f"Starter models are missing: {error}")
            self.stderr.write("Everything else starts; later run: python3 manage.py fetch_models")
