"""What a person does at the sign-in pages, for tests: codes of their app, forms in order."""

import time
from typing import Any

from django.test import Client

from accounts import otp
from accounts.models import Totp, User
from tests.accounts.conftest import PASSWORD


def give_app(user: User) -> str:
    """Set an authenticator app up and give its secret."""
    secret = otp.new_secret()
    Totp.objects.update_or_create(user=user, defaults={"secret": secret})
    return secret


def code_of(secret: str, later: int = 0) -> str:
    """Give the code that the app shows, or will show `later` steps on."""
    return otp.code(secret, otp.step_at(time.time()) + later)


def password_step(client: Client, name: str = "ann", target: str = "") -> Any:
    body = {"username": name, "password": PASSWORD}
    return client.post(f"/login/?next={target}", body)


def code_step(client: Client, code: str) -> Any:
    return client.post("/login/second/", {"code": code})


def is_in(client: Client) -> bool:
    return client.get("/account/").status_code == 200
