"""Passwords, behind the throttle: whatever form asks, guesses are counted here."""

import logging
from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from accounts import notices, throttle
from accounts.models import User

logger = logging.getLogger(__name__)


class PasswordBackend(ModelBackend):
    """Django's own check, at most as often as the throttle allows."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        """Raises: PermissionDenied (Django then refuses) while there were too many attempts."""
        if username is None or password is None:
            return None
        address = address_of(request)
        try:
            throttle.attempt(username, address)
        except throttle.TooMany as error:
            logger.warning("sign-in throttled", extra={"address": address})
            notices.sign_in_failed(username, address, "throttled")
            raise PermissionDenied(str(error)) from error
        user = super().authenticate(request, username=username, password=password, **kwargs)
        if not isinstance(user, User) or user.is_service:  # programs have keys
            notices.sign_in_failed(username, address, "password")
            return None
        throttle.forgive(username, address)
        return user


def address_of(request: HttpRequest | None) -> str:
    """Return the client's address; the server has already applied the trusted proxies."""
    return "" if request is None else str(request.META.get("REMOTE_ADDR") or "")
