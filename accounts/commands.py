"""What every command of the hub shares: a mistake in the configuration is told in one style."""

from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.core.management.base import BaseCommand

CANNOT_START = "The hub cannot start"


class HubCommand(BaseCommand):
    """Look at the configuration only: Django's own checks of itself cost a second."""

    requires_system_checks: tuple[str, ...] = ("hub",)

    def check(self, *_: Any, tags: Sequence[str] | None = None, **__: Any) -> None:
        """Raises: SystemExit that names every mistake with its cure."""
        found = checks.run_checks(tags=tags)
        for message in found:
            if not message.is_serious():
                self.stderr.write(f"Warning: {_words(message)}")
        if errors := [_words(message) for message in found if message.is_serious()]:
            raise SystemExit(refusal(errors))


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
