"""`manage.py create_admin --username U`: the password comes from the prompt or from stdin."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import people
from accounts.commands import HubCommand, new_password
from accounts.models import User


class Command(HubCommand):
    help = "Make an admin account; the password is asked for, or read from stdin."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--username", required=True)

    def handle(self, *_: Any, username: str, **__: Any) -> None:
        if User.objects.filter(username=username).exists():
            raise CommandError(
                f"There is already a user named {username}: sign in with that name, or give it a"
                f" new password with: python3 manage.py changepassword {username}"
            )
        try:
            people.create(username, new_password(), role=User.Role.ADMIN)
        except people.PersonRefused as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Admin {username} created: sign in with this name and the password.")
