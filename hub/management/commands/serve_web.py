"""Serve HTTP and websockets (one process; run several behind a balancer, or use runhub)."""

import logging
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.db import DatabaseError, connections

from accounts import seen_config
from accounts.commands import HubCommand
from hub import checks, config, web

log = logging.getLogger(__name__)


class Command(HubCommand):
    help = __doc__ or ""
    requires_system_checks = (checks.TAG, checks.NAMES_TAG)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--descriptor", type=int, help="a listening socket that the parent process bound"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        _note_config()
        connections.close_all()  # the check of names asked the database in this thread
        web.serve(options["descriptor"])


def _note_config() -> None:
    """Tell the audit log of another config/hub.json; a database that is away is told by /readyz."""
    try:
        seen_config.note(config.flat(settings.HUB_CONFIG), config.flat(config.HubConfig()))
    except DatabaseError:
        log.warning("the audit log was not told of config/hub.json", exc_info=True)
