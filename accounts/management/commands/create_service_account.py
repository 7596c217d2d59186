"""`manage.py create_service_account --name N (--team T | --hub-wide)`: a program's account, keys only."""

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
        place = parser.add_mutually_exclusive_group(required=True)
        place.add_argument("--team", help="who owns it: its role holds there")
        place.add_argument("--hub-wide", action="store_true", help="its role holds everywhere")
        parser.add_argument("--role", default=User.Role.DEVELOPER)
        parser.add_argument("--contact", default="", help="who answers for it")
        parser.add_argument("--description", default="", help="what it is for")

    def handle(self, *_: Any, name: str, team: str | None, role: str, **given: Any) -> None:
        owner = Team.objects.filter(name=team).first()
        if team is not None and owner is None:
            raise CommandError(f"There is no team named {team}.")
        about = {field: given[field] for field in ("contact", "description")}
        try:
            service_accounts.create(name, owner, role, **about)
        except Refusal as error:
            raise CommandError(error.message) from None
        whose = f"of {team}" if team else "for the whole hub"
        self.stdout.write(f"Service account {name} {whose} created.")
