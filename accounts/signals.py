"""Rows whose change may change a right: each bumps the epoch, by whatever path it was written."""

from typing import Any

from django.contrib.sessions.models import Session
from django.db.models import Model
from django.db.models.signals import post_delete, post_save
from oauth2_provider.models import AccessToken

from accounts import epoch
from accounts.models import ApiKey, Application, Grant, Limit, Membership, Role, Team, User

_TOKENS: tuple[type[Model], ...] = (Grant, Application, AccessToken)
_HARMLESS = {"last_login", "language"}


def _saved(update_fields: frozenset[str] | None, created: bool, **_: Any) -> None:
    if not created and (update_fields is None or not _HARMLESS.issuperset(update_fields)):
        epoch.bump()


def _deleted(**_: Any) -> None:
    epoch.bump()


def _joined(**_: Any) -> None:
    """A new membership, too, gives a right to somebody who is remembered without it."""
    epoch.bump()


def connect() -> None:
    """Called once, when the app is ready."""
    rows: tuple[type[Model], ...] = (User, ApiKey, Limit, Team, Role, *_TOKENS)
    for row in rows:
        post_save.connect(_saved, sender=row, dispatch_uid=f"epoch-save-{row.__name__}")
        post_delete.connect(_deleted, sender=row, dispatch_uid=f"epoch-delete-{row.__name__}")
    post_save.connect(_joined, sender=Membership, dispatch_uid="epoch-save-Membership")
    post_delete.connect(_deleted, sender=Membership, dispatch_uid="epoch-delete-Membership")
    post_delete.connect(_deleted, sender=Session, dispatch_uid="epoch-delete-Session")
