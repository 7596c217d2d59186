"""First start: a one-time link with which the operator makes the admin account in a browser."""

import os
from contextlib import suppress
from pathlib import Path

from django.conf import settings
from django.db import transaction

from accounts import crypto, people, peppers
from accounts.models import SetupLink, SetupStep, User

FILE = "setup-link"  # in the data folder, where logs may not hold the link


class LinkRefused(Exception):
    """The link was used, was replaced by a newer one, or an admin exists already."""


def needed() -> bool:
    """Tell whether nobody can administer this hub yet."""
    return not User.objects.filter(role=User.Role.ADMIN, is_active=True).exists()


def issue_link(base_url: str) -> str | None:
    """Return a new link, which ends all earlier ones, or None where there is an admin."""
    token = crypto.new_token()
    with transaction.atomic():
        _forget_link()
        if not needed():
            return None
        SetupLink.objects.create(digest=crypto.digest(peppers.newest(), token))
    return f"{base_url.rstrip('/')}/setup/{token}/"


def write_link(link: str) -> Path:
    """Keep it where only the hub's own user reads it; redeeming it takes the file away."""
    file = _file()
    file.unlink(missing_ok=True)
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(f"{link}\n")
    return file


def done_steps() -> frozenset[str]:
    """Name the steps of the set-up that were seen done, by whoever and before whatever restart."""
    return frozenset(SetupStep.objects.values_list("name", flat=True))


def note_steps(names: frozenset[str]) -> None:
    rows = [SetupStep(name=name) for name in sorted(names)]
    SetupStep.objects.bulk_create(rows, ignore_conflicts=True)


def valid(token: str) -> bool:
    """Tell whether this token would be accepted now."""
    return needed() and any(
        peppers.made(bytes(link.digest), token) for link in SetupLink.objects.all()
    )


def redeem(token: str, username: str, password: str) -> User:
    """Make the admin account; of two that race with one token, one wins.

    A refused name or password does not use the link up. Raises: LinkRefused, PersonRefused.
    """
    with transaction.atomic():
        links = list(SetupLink.objects.select_for_update())
        if not any(peppers.made(bytes(link.digest), token) for link in links):
            raise LinkRefused("This set-up link is not valid, or was used already.")
        if not needed():
            raise LinkRefused("There is an admin account already: sign in instead.")
        admin = people.create(username, password, role=User.Role.ADMIN)
        _forget_link()
    return admin


def _forget_link() -> None:
    SetupLink.objects.all().delete()
    with suppress(OSError):  # the link in it is worth nothing any more
        _file().unlink()


def _file() -> Path:
    return Path(settings.HUB_DATA) / FILE
