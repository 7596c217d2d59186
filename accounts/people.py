"""People: make an account. The command line, set-up and the access page call these."""

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts.models import User


class PersonRefused(Exception):
    """An account cannot be made; `messages` are safe to show, `field` is the argument at fault."""

    def __init__(self, field: str, messages: list[str]) -> None:
        super().__init__(" ".join(messages))
        self.field = field
        self.messages = messages


def create(username: str, password: str, role: str = User.Role.DEVELOPER) -> User:
    """Make an account with a checked name and password. Raises: PersonRefused."""
    user = User(username=User.normalize_username(username.strip()), role=role)
    _check("username", user.clean_fields, exclude=["password"])
    _check("password", validate_password, password, user)
    user.set_password(password)
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError:
        raise PersonRefused("username", [f"There is already a user named {username}."]) from None
    return user


def _check(field: str, rule: object, *args: object, **kwargs: object) -> None:
    try:
        rule(*args, **kwargs)  # type: ignore[operator]
    except ValidationError as error:
        raise PersonRefused(field, list(error.messages)) from None
