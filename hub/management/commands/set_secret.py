"""Keep a secret, encrypted in the database: the value comes from stdin or a prompt."""

import getpass
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.commands import HubCommand
from inference import vault


class Command(HubCommand):
    help = __doc__ or ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", choices=sorted(vault.NAMES))

    def handle(self, *_args: Any, **options: Any) -> None:
        given = getpass.getpass("Value: ") if sys.stdin.isatty() else sys.stdin.readline()
        value = given.strip()
        if len(value) > vault.MAX_CHARS or not value.isprintable():
            raise CommandError(f"a secret is one line of at most {vault.MAX_CHARS} characters")
        vault.put(options["name"], value)
        self.stdout.write("kept" if value else "forgotten")
