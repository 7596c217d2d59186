"""Serve HTTP and websockets (one process; run several behind a balancer, or use runhub)."""

from typing import Any

from django.core.management.base import CommandParser

from accounts.commands import HubCommand
from hub import web


class Command(HubCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--descriptor", type=int, help="a listening socket that the parent process bound"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        web.serve(options["descriptor"])
