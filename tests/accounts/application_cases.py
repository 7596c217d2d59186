"""What the tests of third-party applications share: one that is registered, and its steps."""

import base64
import hashlib
import secrets
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from accounts import applications
from accounts.applications import Wanted
from accounts.authentication import Refused, authenticate_now
from accounts.models import Application, User
from accounts.principals import Principal
from tests.accounts.conftest import session_of

URI = "https://app.example.org/back"
VERIFIER = secrets.token_urlsafe(48)


def challenge_of(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def register(admin: User, **more: Any) -> tuple[Application, str]:
    fields: dict[str, Any] = {"name": "Notes", "redirect_uris": [URI]}
    wanted = fields | {"scopes": ["models:read", "inference:chat"]} | more
    return applications.register(Wanted(**wanted), session_of(admin))


def ask(client: Client, app: Application, **more: str) -> Any:
    query = {
        "response_type": "code",
        "client_id": app.client_id,
        "redirect_uri": URI,
        "scope": "models:read",
        "state": "xyz",
        "code_challenge": challenge_of(VERIFIER),
        "code_challenge_method": "S256",
    }
    return client.get("/oauth/authorize/", query | more)


def allow(client: Client, app: Application, **more: str) -> dict[str, str]:
    """Open the consent page, click Let it in, and give what the application gets."""
    page = ask(client, app, **more)
    assert page.status_code == 200, page.content
    fields = {name: value or "" for name, value in page.context["form"].initial.items()}
    answer = client.post(page.request["PATH_INFO"], fields | {"allow": "true"})
    assert answer["Location"].startswith(URI), answer["Location"]
    return {
        name: values[0] for name, values in parse_qs(urlsplit(answer["Location"]).query).items()
    }


def exchange(app: Application, secret: str, code: str, **more: str) -> Any:
    body = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": URI,
        "client_id": app.client_id,
        "code_verifier": VERIFIER,
    } | more
    body |= {"client_secret": secret} if secret else {}
    return Client().post("/oauth/token/", {k: v for k, v in body.items() if v})


def who(token: str) -> Principal:
    return authenticate_now({"authorization": f"Bearer {token}"}, "10.0.0.1")


def refused(token: str) -> str:
    with pytest.raises(Refused) as error:
        who(token)
    return error.value.kind
