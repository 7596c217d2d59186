"""OpenID Connect, as a client: discovery, the way to a provider, and what it says when one comes back.

No database and no sessions: `sign_on` and the views keep what has to be kept. Everything fetched goes
through the hub's one door for outgoing requests.
"""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
from django.conf import settings
from django.utils.module_loading import import_string

ALGORITHMS = (  # of identity tokens: asymmetric ones, so that no public key passes for a secret
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)
KEPT_S = 600.0  # of a provider's description and keys
LEEWAY_S = 60
SCOPES = "openid profile email"
WELL_KNOWN = "/.well-known/openid-configuration"


class SignOnFailed(Exception):
    """The message says to a person what went wrong; it holds nothing secret."""


@dataclass(frozen=True, slots=True)
class ClientOf:
    """Who the hub is at a provider."""

    issuer: str
    client_id: str
    client_secret: str = field(repr=False)
    redirect_uri: str = ""
    group_claim: str = ""


@dataclass(frozen=True, slots=True)
class Journey:
    """What must come back from the provider as it was sent; kept in the visitor's session."""

    state: str
    nonce: str
    verifier: str

    def kept(self) -> dict[str, str]:
        return asdict(self)


class Metadata(msgspec.Struct, frozen=True):
    """Source: OpenID Connect Discovery 1.0 §3, RFC 9207 §3."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    end_session_endpoint: str = ""
    authorization_response_iss_parameter_supported: bool = False
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


@dataclass(slots=True)
class _Kept:
    at_s: float
    value: Any


_metadata: dict[str, _Kept] = {}
_jwks: dict[str, _Kept] = {}


def forget() -> None:
    """Ask providers anew."""
    _metadata.clear()
    _jwks.clear()


def discover(issuer: str) -> Metadata:
    """Give what a provider says of itself. Raises: SignOnFailed."""
    kept = _metadata.get(issuer)
    if kept is None or time.monotonic() - kept.at_s > KEPT_S:
        kept = _metadata[issuer] = _Kept(time.monotonic(), _discover(issuer))
    found: Metadata = kept.value
    return found


def _discover(issuer: str) -> Metadata:
    body = _call(issuer.rstrip("/") + WELL_KNOWN)
    try:
        found = msgspec.json.decode(body, type=Metadata)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise SignOnFailed("The provider's description cannot be read.") from None
    if found.issuer != issuer:  # Source: Discovery §4.3
        raise SignOnFailed(f"The provider says that its issuer is {found.issuer[:200]}.")
    for url in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
        check_url(url)
    return found


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


def begin(client: ClientOf) -> tuple[str, Journey]:
    """Give where to send the visitor, and what to keep until they come back. Raises: SignOnFailed."""
    found = discover(client.issuer)
    journey = Journey(*(secrets.token_urlsafe(32) for _ in range(3)))
    challenge = hashlib.sha256(journey.verifier.encode()).digest()
    query = {
        "response_type": "code",
        "client_id": client.client_id,
        "redirect_uri": client.redirect_uri,
        "scope": SCOPES,
        "state": journey.state,
        "nonce": journey.nonce,
        "code_challenge": base64.urlsafe_b64encode(challenge).rstrip(b"=").decode(),
        "code_challenge_method": "S256",
    }
    joint = "&" if "?" in found.authorization_endpoint else "?"
    return f"{found.authorization_endpoint}{joint}{urlencode(query)}", journey


def finish(client: ClientOf, journey: Journey, answer: Mapping[str, str]) -> dict[str, Any]:
    """Check what came back and give the claims of who it is. Raises: SignOnFailed."""
    found = discover(client.issuer)
    _check_answer(found, journey, answer)
    tokens = _exchange(client, found, journey, answer["code"])
    claims = _identity(client, found, journey, str(tokens.get("id_token", "")))
    if found.userinfo_endpoint and client.group_claim and client.group_claim not in claims:
        claims = _with_userinfo(found, claims, str(tokens.get("access_token", "")))
    return claims


def _check_answer(found: Metadata, journey: Journey, answer: Mapping[str, str]) -> None:
    if not hmac.compare_digest(answer.get("state", "").encode(), journey.state.encode()):
        raise SignOnFailed("This answer belongs to no sign-in of this browser. Begin again.")
    said = answer.get("iss")
    if said != found.issuer and (
        said is not None or found.authorization_response_iss_parameter_supported
    ):
        raise SignOnFailed("Another provider answered than the one that was asked.")
    if answer.get("error"):
        raise SignOnFailed("The provider did not let you in.")
    if not answer.get("code"):
        raise SignOnFailed("The provider's answer is not complete.")


def _exchange(client: ClientOf, found: Metadata, journey: Journey, code: str) -> dict[str, Any]:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": client.redirect_uri,
        "code_verifier": journey.verifier,
        "client_id": client.client_id,
    }
    headers: dict[str, str] = {}
    methods = found.token_endpoint_auth_methods_supported
    if client.client_secret and "client_secret_basic" in methods:
        pair = urlencode({"a": client.client_id})[2:], urlencode({"a": client.client_secret})[2:]
        basic = base64.b64encode(":".join(pair).encode()).decode()
        headers["Authorization"] = f"Basic {basic}"
    elif client.client_secret:
        form["client_secret"] = client.client_secret
    return _object(_call(found.token_endpoint, form, headers))


def _identity(client: ClientOf, found: Metadata, journey: Journey, token: str) -> dict[str, Any]:
    """Check an identity token. Source: OpenID Connect Core 1.0 §3.1.3.7."""
    import jwt  # noqa: PLC0415 (only a sign-on pays for it)

    try:
        header = jwt.get_unverified_header(token)
        if header.get("alg") not in ALGORITHMS:
            raise SignOnFailed("The provider signs in a way that is not accepted.")
        claims: dict[str, Any] = jwt.decode(
            token,
            _key(found, header),
            algorithms=[header["alg"]],
            audience=client.client_id,
            issuer=found.issuer,
            leeway=LEEWAY_S,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        raise SignOnFailed("The provider's word on who you are is not valid.") from None
    _check_claims(client, journey, claims)
    return claims


def _check_claims(client: ClientOf, journey: Journey, claims: Mapping[str, Any]) -> None:
    nonce, subject, audience = claims.get("nonce"), claims.get("sub"), claims.get("aud")
    fresh = isinstance(nonce, str) and hmac.compare_digest(nonce.encode(), journey.nonce.encode())
    several = isinstance(audience, list) and len(audience) > 1
    party = claims.get("azp", None if several else client.client_id)
    if not fresh or party != client.client_id:
        raise SignOnFailed("The provider's word on who you are is not of this sign-in.")
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        raise SignOnFailed("The provider does not say who you are.")


def _key(found: Metadata, header: Mapping[str, Any]) -> Any:
    """Find the key by the token's `kid` in the provider's set; ask once more for a new one.

    A token without a name is of the only key there is. Source: Core §10.1.
    """
    for is_new in (False, True):
        usable = [one for one in _keys(found.jwks_uri, is_new) if one.public_key_use != "enc"]
        if "kid" not in header and len(usable) == 1:
            return usable[0].key
        for one in usable:
            if one.key_id is not None and one.key_id == header.get("kid"):
                return one.key
    raise SignOnFailed("The provider signed with a key that it does not publish.")


def _keys(url: str, is_new: bool) -> list[Any]:
    import jwt  # noqa: PLC0415

    kept = _jwks.get(url)
    age_s = time.monotonic() - kept.at_s if kept else KEPT_S
    if kept is None or age_s >= KEPT_S or (is_new and age_s > 10):
        kept = _jwks[url] = _Kept(time.monotonic(), jwt.PyJWKSet.from_dict(_object(_call(url))))
    return list(kept.value.keys)


def _with_userinfo(found: Metadata, claims: dict[str, Any], token: str) -> dict[str, Any]:
    """Add what the provider tells there only. Source: Core §5.3.2: the subject must be the same."""
    told = _object(_call(found.userinfo_endpoint, headers={"Authorization": f"Bearer {token}"}))
    if told.get("sub") != claims["sub"]:
        raise SignOnFailed("The provider speaks of somebody else.")
    return {**told, **claims}


def _object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise SignOnFailed("The provider's answer cannot be read.") from None


def _call(
    url: str, form: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """Raises: SignOnFailed, without a word on what lies behind the door."""
    check_url(url)
    call = import_string(settings.HUB_OUTGOING)
    try:
        body: bytes = call(url, form, headers or {})
    except ConnectionError as error:
        raise SignOnFailed(f"The provider cannot be asked: {error}.") from None
    return body
