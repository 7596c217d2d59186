"""`manage.py create_team --name N [--member U ...] [--manager U ...]`."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from accounts import teams
from accounts.commands import HubCommand
from accounts.denials import Refusal
from accounts.models import Membership, Team, User


class Command(HubCommand):
    help = "Make a team, with members who are there already."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True)
        parser.add_argument("--description", default="")
        parser.add_argument("--member", action="append", default=[], help="may be repeated")
        parser.add_argument("--manager", action="append", default=[], help="may be repeated")

    def handle(self, *_: Any, name: str, description: str, **given: Any) -> None:
        try:
            with transaction.atomic():
                team = teams.create(name, description=description)
                for level in Membership.Level.values:
                    for username in given[level]:
                        _add(team, username, level)
        except Refusal as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"Team {name} created.")


def _add(team: Team, username: str, level: str) -> None:
    user = User.objects.filter(username=username).first()
    if user is None:
        raise CommandError(f"There is no user named {username}.")
    teams.add(team, user, None, level)
