"""Run the whole hub on this machine: web, node, worker and an embedded Redis."""

import sys
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from hub.supervisor import claims, start
from inference.node import devices


class Command(BaseCommand):
    help = __doc__ or ""
    requires_system_checks = ("hub",)

    def handle(self, *_args: Any, **_options: Any) -> None:
        try:
            devices.require(settings.HUB_DEVICE)
            start.run()
        except (claims.Taken, devices.NoGpu, TimeoutError) as error:
            sys.exit(f"The hub cannot start: {error}.")
