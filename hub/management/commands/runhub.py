"""Run the whole hub on this machine: web, node, worker and an embedded Redis."""

import sys
from typing import Any

from django.conf import settings

from accounts.commands import HubCommand, refusal
from hub.supervisor import claims, start
from inference.node import devices


class Command(HubCommand):
    help = __doc__ or ""

    def handle(self, *_args: Any, **_options: Any) -> None:
        try:
            devices.require(settings.HUB_DEVICE)
            start.run()
        except (claims.Taken, devices.NoGpu, TimeoutError) as error:
            sys.exit(refusal([str(error)]))
