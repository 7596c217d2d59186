"""Serve HTTP and websockets (one process; run several behind a balancer, or use runhub)."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from hub import web


class Command(BaseCommand):
    help = __doc__ or ""
    requires_system_checks = ("hub",)

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--descriptor", type=int, help="a listening socket that the parent process bound"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        web.serve(options["descriptor"])
