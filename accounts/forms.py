"""The sign-in form: Django's, and it says when the throttle holds it back."""

from typing import Any

from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from accounts import throttle
from accounts.backends import address_of


class SignInForm(AuthenticationForm):
    """`wait_s` is above 0 where the next attempt has to wait (answer 429, Retry-After)."""

    wait_s = 0

    def clean(self) -> dict[str, Any]:
        username = self.cleaned_data.get("username", "")
        self.wait_s = throttle.wait_s(username, address_of(self.request))
        if self.wait_s:
            raise ValidationError(
                _("Too many attempts. Try again in %(seconds)s s."),
                code="throttled",
                params={"seconds": self.wait_s},
            )
        return super().clean()
