"""`manage.py create_key --user U --name N`: prints just the key, once."""

import datetime as dt
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from accounts import keys, principals, scopes
from accounts.commands import HubCommand
from accounts.models import Team, User

MAX_DAYS = 3650


class Command(HubCommand):
    help = "Issue an API key and print it; it cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        names = ", ".join([*scopes.SCOPES, *scopes.WIDE])
        parser.add_argument("--user", required=True, help="who owns the key")
        parser.add_argument("--team", help="one of the owner's teams; default: the first")
        parser.add_argument("--name", required=True, help="what the key is for")
        parser.add_argument("--scope", action="append", help=f"may be repeated; one of: {names}")
        parser.add_argument("--model", action="append", default=[], help="allow this model only")
        parser.add_argument("--network", action="append", default=[], help="such as 10.0.0.0/8")
        parser.add_argument("--expires-days", type=int, help="1 to 3650; default: never")

    def handle(self, *_: Any, user: str, name: str, **given: Any) -> None:
        owner = User.objects.filter(username=user, is_active=True).first()
        if owner is None:
            raise CommandError(f"There is no active user named {user}.")
        try:
            _key, plaintext = keys.issue(
                owner,
                name,
                given["scope"],
                by=principals.operator_for(owner),
                team=_team(given["team"]),
                expires_at=_expiry(given["expires_days"]),
                models=given["model"],
                networks=given["network"],
            )
        except keys.KeyRefused as error:
            raise CommandError(str(error)) from None
        self.stdout.write(plaintext)


def _team(name: str | None) -> Team | None:
    if name is None:
        return None
    found = Team.objects.filter(name=name).first()
    if found is None:
        raise CommandError(f"There is no team named {name}.")
    return found


def _expiry(days: int | None) -> dt.datetime | None:
    if days is None:
        return None
    if not 1 <= days <= MAX_DAYS:
        raise CommandError(f"--expires-days must lie between 1 and {MAX_DAYS}.")
    return timezone.now() + dt.timedelta(days=days)
