"""Serve HTTP and websockets (one process; run several behind a balancer, or use runhub)."""

from typing import Any

from django.core.management.base import CommandParser
from django.db import connections

from accounts.commands import HubCommand
from hub import checks, web


class Command(HubCommand):
    help = __doc__ or ""
    requires_system_checks = (checks.TAG, checks.NAMES_TAG)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--descriptor", type=int, help="a listening socket that the parent process bound"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        connections.close_all()  # the check of names asked the database in this thread
        web.serve(options["descriptor"])
