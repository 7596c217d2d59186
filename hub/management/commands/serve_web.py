"""Serve HTTP and websockets (one process; run several behind a balancer, or use runhub)."""

import logging
from typing import Any

from django.conf import settings
from django.core.management.base import CommandParser
from django.db import DatabaseError, connections

from accounts import seen_config
from accounts.commands import HubCommand
from hub import checks, config, config_watch, names, web

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
        config_watch.start(_applied)
        connections.close_all()  # the check of names asked the database in this thread
        web.serve(options["descriptor"])


def _applied() -> bool:
    """Follow an edit in the audit log; of several web processes one warns of names that lead nowhere."""
    try:
        if is_first := _note_config():
            for line in names.astray():
                log.warning("%s: %s", settings.HUB_CONFIG_FILE, line)
    finally:
        connections.close_all()
    return is_first is not None


def _note_config() -> bool | None:
    """Tell the audit log of another config/hub.json, and whether it was news; None: it could not.

    A database that is away is told by /readyz.
    """
    try:
        usual = config.flat(config.HubConfig())
        return seen_config.note(config.flat(settings.HUB_CONFIG), usual)
    except DatabaseError:
        log.warning("the audit log was not told of config/hub.json", exc_info=True)
        return None
