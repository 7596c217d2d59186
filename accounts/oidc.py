"""OpenID Connect, as a client: discovery, the way to a provider, and what it says when one comes back.

No database and no sessions: `sign_on` and the views keep what has to be kept. Everything fetched goes
through the hub's one door for outgoing requests.
"""

import base64
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import msgspec

from accounts.journeys import (
    UNREADABLE,
    ClientOf,
    Journey,
    SignOnFailed,
    call,
    check_url,
    code_of,
    read_object,
    with_query,
)

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
    body = call(issuer.rstrip("/") + WELL_KNOWN)
    try:
        found = msgspec.json.decode(body, type=Metadata)
    except UNREADABLE:
        raise SignOnFailed("The provider's description cannot be read.") from None
    if found.issuer != issuer:  # Source: Discovery §4.3
        raise SignOnFailed(f"The provider says that its issuer is {found.issuer[:200]}.")
    for url in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
        check_url(url)
    return found


def begin(client: ClientOf) -> tuple[str, Journey]:
    """Give where to send the visitor, and what to keep until they come back. Raises: SignOnFailed."""
    found, journey = discover(client.issuer), Journey.new()
    query = {"scope": SCOPES, "nonce": journey.nonce, **journey.asked(client)}
    return with_query(found.authorization_endpoint, query), journey


def finish(client: ClientOf, journey: Journey, answer: Mapping[str, str]) -> dict[str, Any]:
    """Check what came back and give the claims of who it is. Raises: SignOnFailed."""
    found = discover(client.issuer)
    journey.check_state(answer)
    _check_issuer(found, answer)
    tokens = _exchange(client, found, journey, code_of(answer))
    claims = _identity(client, found, journey, str(tokens.get("id_token", "")))
    if found.userinfo_endpoint and client.group_claim and client.group_claim not in claims:
        claims = _with_userinfo(found, claims, str(tokens.get("access_token", "")))
    return claims


def _check_issuer(found: Metadata, answer: Mapping[str, str]) -> None:
    """Source: RFC 9207 §2.4."""
    said = answer.get("iss")
    if said != found.issuer and (
        said is not None or found.authorization_response_iss_parameter_supported
    ):
        raise SignOnFailed("Another provider answered than the one that was asked.")


def _exchange(client: ClientOf, found: Metadata, journey: Journey, code: str) -> dict[str, Any]:
    form = journey.exchanged(client, code)
    headers: dict[str, str] = {}
    methods = found.token_endpoint_auth_methods_supported
    if client.client_secret and "client_secret_basic" in methods:
        pair = urlencode({"a": client.client_id})[2:], urlencode({"a": client.client_secret})[2:]
        basic = base64.b64encode(":".join(pair).encode()).decode()
        headers["Authorization"] = f"Basic {basic}"
    elif client.client_secret:
        form["client_secret"] = client.client_secret
    return read_object(call(found.token_endpoint, form, headers))


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
        kept = _jwks[url] = _Kept(time.monotonic(), jwt.PyJWKSet.from_dict(read_object(call(url))))
    return list(kept.value.keys)


def _with_userinfo(found: Metadata, claims: dict[str, Any], token: str) -> dict[str, Any]:
    """Add what the provider tells there only. Source: Core §5.3.2: the subject must be the same."""
    told = read_object(call(found.userinfo_endpoint, headers={"Authorization": f"Bearer {token}"}))
    if told.get("sub") != claims["sub"]:
        raise SignOnFailed("The provider speaks of somebody else.")
    return {**told, **claims}
