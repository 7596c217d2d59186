"""`manage.py create_user --username U [--role R] [--team T]`: the password is asked for."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import people
from accounts.commands import HubCommand, new_password
from accounts.denials import Refusal
from accounts.models import Team, User


class Command(HubCommand):
    help = "Make an account for a person; the password is asked for, or read from stdin."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--username", required=True)
        parser.add_argument("--role", default=User.Role.DEVELOPER)
        parser.add_argument("--team", help="the first team; else the default one")

    def handle(self, *_: Any, username: str, role: str, team: str | None, **__: Any) -> None:
        first = Team.objects.filter(name=team).first() if team else None
        if team and first is None:
            raise CommandError(f"There is no team named {team}.")
        try:
            people.create(username, new_password(), role, team=first)
        except Refusal as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"{username} ({role}) created.")
