"""Forms with a password: Django's, behind the same throttle. Signing in, and a new password."""

from typing import Any

from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext_lazy as _

from accounts import audit, throttle
from accounts.backends import address_of
from accounts.models import User


class SignInForm(AuthenticationForm):
    """`wait_s` is above 0 where the next attempt has to wait (answer 429, Retry-After)."""

    wait_s = 0

    def clean(self) -> dict[str, Any]:
        username = self.cleaned_data.get("username", "")
        self.wait_s = throttle.wait_s(username, address_of(self.request))
        if self.wait_s:
            raise _too_many(self.wait_s)
        return super().clean()


class NewPasswordForm(PasswordChangeForm):
    """The old password is asked for, so that an open browser alone cannot take an account over."""

    def __init__(self, user: User, address: str, *args: Any) -> None:
        super().__init__(user, *args)
        self._address = address

    def save(self, commit: bool = True) -> User:
        with transaction.atomic():
            user = super().save(commit)
            audit.record("user.password", "user", user.username, pk=user.pk)
        return user

    def clean_old_password(self) -> str:
        """Guesses here count like guesses at the sign-in."""
        name = self.user.get_username()
        try:
            throttle.attempt(name, self._address)
        except throttle.TooMany as error:
            raise _too_many(error.retry_after_s) from error
        old: str = super().clean_old_password()
        throttle.forgive(name, self._address)
        return old


def _too_many(seconds: int) -> ValidationError:
    message = _("Too many attempts. Try again in %(seconds)s s.")
    return ValidationError(message, code="throttled", params={"seconds": seconds})
