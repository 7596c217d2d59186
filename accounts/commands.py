"""What every command of the hub shares: mistakes in the configuration in one style, asking for a password."""

import getpass
import sys
from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.core.management.base import BaseCommand, CommandError

from accounts import actors

CANNOT_START = "The hub cannot start"


class HubCommand(BaseCommand):
    """Look at the configuration only: Django's own checks of itself cost a second."""

    requires_system_checks: tuple[str, ...] = ("hub",)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Let the audit log say that it was the command line."""
        with actors.acting(actors.command()):
            return super().execute(*args, **options)

    def check(self, *_: Any, tags: Sequence[str] | None = None, **__: Any) -> None:
        """Raises: SystemExit that names every mistake with its cure."""
        found = checks.run_checks(tags=tags)
        for message in found:
            if not message.is_serious():
                self.stderr.write(f"Warning: {_words(message)}")
        if errors := [_words(message) for message in found if message.is_serious()]:
            raise SystemExit(refusal(errors))


def new_password() -> str:
    """Ask for it twice, or read the first line of stdin. Raises: CommandError."""
    if not sys.stdin.isatty():
        if not (given := sys.stdin.readline().rstrip("\r\n")):
            raise CommandError(
                "No password was given: type one at the prompt, or send it on stdin."
            )
        return given
    password = getpass.getpass("Password: ")
    if password != getpass.getpass("Once more: "):
        raise CommandError("The two passwords differ.")
    return password


def refusal(reasons: Sequence[str]) -> str:
    """Give one line for one reason, a list for several."""
    if len(reasons) == 1:
        return f"{CANNOT_START}: {_sentence(reasons[0])}"
    return "\n  - ".join([f"{CANNOT_START}:", *map(_sentence, reasons)])


def _words(message: checks.CheckMessage) -> str:
    text = _sentence(str(message.msg))
    return f"{text} {_sentence(str(message.hint))}" if message.hint else text


def _sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."
