"""First start: a one-time link with which the operator makes the admin account in a browser."""

from django.conf import settings
from django.db import transaction

from accounts import crypto, people
from accounts.models import SetupLink, User


class LinkRefused(Exception):
    """The link was used, was replaced by a newer one, or an admin exists already."""


def needed() -> bool:
    """Tell whether nobody can administer this hub yet."""
    return not User.objects.filter(role=User.Role.ADMIN, is_active=True).exists()


def issue_link(base_url: str) -> str | None:
    """Return a new link, which ends all earlier ones, or None where there is an admin."""
    token = crypto.new_token()
    with transaction.atomic():
        if not needed():
            SetupLink.objects.all().delete()
            return None
        SetupLink.objects.all().delete()
        SetupLink.objects.create(digest=_digest(token))
    return f"{base_url.rstrip('/')}/setup/{token}/"


def valid(token: str) -> bool:
    """Tell whether this token would be accepted now."""
    return needed() and any(
        crypto.matches(bytes(link.digest), _digest(token)) for link in SetupLink.objects.all()
    )


def redeem(token: str, username: str, password: str) -> User:
    """Make the admin account; of two that race with one token, one wins.

    A refused name or password does not use the link up. Raises: LinkRefused, PersonRefused.
    """
    with transaction.atomic():
        links = list(SetupLink.objects.select_for_update())
        if not any(crypto.matches(bytes(link.digest), _digest(token)) for link in links):
            raise LinkRefused("This set-up link is not valid, or was used already.")
        if not needed():
            raise LinkRefused("There is an admin account already: sign in instead.")
        admin = people.create(username, password, role=User.Role.ADMIN)
        SetupLink.objects.all().delete()
    return admin


def _digest(token: str) -> bytes:
    return crypto.digest(settings.HUB_KEY_PEPPER, token)
