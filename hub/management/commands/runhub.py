"""Run the whole hub on this machine: web, node, worker and an embedded Redis."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from hub.supervisor import claims, start


class Command(BaseCommand):
    help = __doc__ or ""

    def handle(self, *_args: Any, **_options: Any) -> None:
        try:
            start.run()
        except (claims.Taken, TimeoutError) as error:
            sys.exit(f"The hub cannot start: {error}.")
