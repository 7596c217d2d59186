"""`manage.py change_service_account --name N`: another role, disabled, enabled, removed with its keys."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import people, service_accounts
from accounts.commands import HubCommand
from accounts.denials import Refusal
from accounts.models import User

FIELDS = ("role", "contact", "description", "is_active")


class Command(HubCommand):
    help = "Change, disable, enable or remove a program's account; its keys follow within 2 s."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--name", required=True)
        parser.add_argument("--role")
        parser.add_argument("--contact", help="who answers for it")
        parser.add_argument("--description", help="what it is for")
        state = parser.add_mutually_exclusive_group()
        state.add_argument("--disable", dest="is_active", action="store_false", default=None)
        state.add_argument("--enable", dest="is_active", action="store_true", default=None)
        state.add_argument("--remove", action="store_true", help="with all of its keys")

    def handle(self, *_: Any, name: str, remove: bool, **given: Any) -> None:
        account = User.objects.filter(username=name, kind=User.Kind.SERVICE).first()
        if account is None:
            raise CommandError(f"There is no service account named {name}.")
        wanted = {field: given[field] for field in FIELDS if given[field] is not None}
        if not (remove or wanted):
            raise CommandError("Say what to change: see --help.")
        try:
            self.stdout.write(_removed(account) if remove else _changed(account, wanted))
        except Refusal as error:
            raise CommandError(error.message) from None


def _removed(account: User) -> str:
    """Raises: Refusal."""
    name = account.username
    ended = people.remove(account, None)["keys"]
    return f"Service account {name} removed; keys that ended: {ended}."


def _changed(account: User, wanted: dict[str, Any]) -> str:
    """Raises: Refusal."""
    changed = service_accounts.change(account, **wanted)
    state = "active" if changed.is_active else "disabled"
    return f"Service account {changed.username}: {changed.role}, {state}."
