"""What signing in at a provider takes, whichever protocol it speaks: who the hub is there, what must come
back, and the one door for outgoing requests. `oidc` and `plain_oauth2` use it.
"""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
from django.conf import settings
from django.utils.module_loading import import_string

# Also of what is nested too deep.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class SignOnFailed(Exception):
    """The message says to a person what went wrong; it holds nothing secret."""


class Endpoints(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a provider without discovery is asked; `subject_claim` tells people apart for ever."""

    authorize_url: str = ""
    token_url: str = ""
    userinfo_url: str = ""
    subject_claim: str = "id"
    scope: str = ""


@dataclass(frozen=True, slots=True)
class ClientOf:
    """Who the hub is at a provider."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str = ""
    group_claim: str = ""
    endpoints: Endpoints | None = None  # of plain OAuth2; None: OpenID Connect


@dataclass(frozen=True, slots=True)
class Journey:
    """What must come back from the provider as it was sent; kept in the visitor's session."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> "Journey":
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))

    def kept(self) -> dict[str, str]:
        return asdict(self)

    def asked(self, client: ClientOf) -> dict[str, str]:
        """Give what every provider is asked; the challenge is of PKCE, S256."""
        challenge = hashlib.sha256(self.verifier.encode()).digest()
        return {
            "response_type": "code",
            "client_id": client.client_id,
            "redirect_uri": client.redirect_uri,
            "state": self.state,
            "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }

    def exchanged(self, client: ClientOf, code: str) -> dict[str, str]:
        """Give the form that turns a code into tokens."""
        return {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": client.redirect_uri,
            "code_verifier": self.verifier,
            "client_id": client.client_id,
        }

    def check_state(self, answer: Mapping[str, str]) -> None:
        """Raises: SignOnFailed."""
        if not hmac.compare_digest(answer.get("state", "").encode(), self.state.encode()):
            raise SignOnFailed("This answer belongs to no sign-in of this browser. Begin again.")


def code_of(answer: Mapping[str, str]) -> str:
    """Raises: SignOnFailed."""
    if answer.get("error"):
        raise SignOnFailed("The provider did not let you in.")
    if not answer.get("code"):
        raise SignOnFailed("The provider's answer is not complete.")
    return answer["code"]


def with_query(url: str, query: Mapping[str, str]) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"


def check_url(url: str) -> None:
    """https, or http where the operator opened private networks. Raises: SignOnFailed."""
    if not _is_address(url):
        raise SignOnFailed("A provider's addresses begin with https://.")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    plain = parts.scheme == "http" and bool(settings.HUB_SIGN_ON_NETWORKS)
    is_web = parts.scheme == "https" or plain
    return is_web and bool(parts.hostname) and not parts.username and port != 0


def read_object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except UNREADABLE:
        raise SignOnFailed("The provider's answer cannot be read.") from None


def call(
    url: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """Raises: SignOnFailed, without a word on what lies behind the door."""
    check_url(url)
    send = import_string(settings.HUB_OUTGOING)
    try:
        body: bytes = send(url, form, headers or {})
    except ConnectionError as error:
        raise SignOnFailed(f"The provider cannot be asked: {error}.") from None
    return body
