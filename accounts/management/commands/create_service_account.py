"""`manage.py create_service_account --name N --team T [--role R]`: a program's account, keys only."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import service_accounts
from accounts.commands import HubCommand
from accounts.denials import Refusal
from accounts.models import Team, User


class Command(HubCommand):
    help = "Make an account for a program; give it keys with create_key --user."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True)
        parser.add_argument("--team", required=True, help="who owns it")
        parser.add_argument("--role", default=User.Role.DEVELOPER)

    def handle(self, *_: Any, name: str, team: str, role: str, **__: Any) -> None:
        owner = Team.objects.filter(name=team).first()
        if owner is None:
            raise CommandError(f"There is no team named {team}.")
        try:
            service_accounts.create(name, owner, role)
        except Refusal as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"Service account {name} of {team} created.")
