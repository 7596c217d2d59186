"""`manage.py changepassword U`: Django's, with a row in the audit log; the password is asked for."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import people, principals
from accounts.commands import HubCommand, new_password
from accounts.denials import Refusal
from accounts.models import User


class Command(HubCommand):
    help = "Give a person a new password; it is asked for, or read from stdin."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")

    def handle(self, *_: Any, username: str, **__: Any) -> None:
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no user named {username}.")
        try:
            people.change(user, principals.operator_for(user), password=new_password())
        except Refusal as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"{username} has a new password.")
