"""What the tests of single sign-on share: a provider, and the two halves of a sign-in."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.test import Client

from accounts.models import Provider
from tests.accounts import provider as lying

BACK = "/login/with/corp/back/"


def row(issuer: str, **fields: Any) -> Provider:
    wanted = {"default_role": "developer", "client_secret": "s3cret"} | fields
    return Provider.objects.create(
        slug="corp", name="Corp", issuer=issuer, client_id="hub", **wanted
    )


def depart(client: Client, target: str = "") -> dict[str, str]:
    """Begin a sign-in and give what the hub asked of the provider."""
    answer = client.get(f"/login/with/corp/?next={target}")
    assert answer.status_code == 302, answer.content
    query = parse_qs(urlsplit(answer["Location"]).query)
    return {name: values[0] for name, values in query.items()}


def come_back(client: Client, idp: lying.Provider, **answer: str) -> Any:
    """Go to an honest provider and return with its code, changed by `answer`."""
    asked = depart(client)
    idp.nonce = asked["nonce"]
    return client.get(BACK, {"code": "c1", "state": asked["state"]} | answer)
