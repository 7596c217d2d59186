"""Plain OAuth2, as a client: providers that speak no OpenID Connect, as GitHub does not.

Such a provider signs nothing. Who somebody is it tells at one address to whoever holds a token that another
of its addresses gave: an identity belongs to both addresses together, and to the subject.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from accounts.journeys import (
    ClientOf,
    Endpoints,
    Journey,
    SignOnFailed,
    call,
    check_url,
    code_of,
    read_object,
    with_query,
)

LONGEST = {"authorize_url": 400, "token_url": 240, "userinfo_url": 240, "subject_claim": 60}
LONGEST_SCOPE = 300
LONGEST_SUBJECT = 255
NAMES = ("preferred_username", "login", "username")  # what people call themselves there


def read(given: Mapping[str, Any]) -> Endpoints:
    """Check where a provider is asked. Raises: SignOnFailed."""
    try:
        found = msgspec.convert(dict(given), Endpoints)
    except msgspec.ValidationError as error:
        raise SignOnFailed(f"The provider's addresses cannot be used: {error}.") from None
    for name, longest in LONGEST.items():
        if not 0 < len(getattr(found, name)) <= longest:
            raise SignOnFailed(f"{name} has 1 to {longest} characters.")
    if len(found.scope) > LONGEST_SCOPE:
        raise SignOnFailed(f"scope has {LONGEST_SCOPE} characters at most.")
    for url in (found.authorize_url, found.token_url, found.userinfo_url):
        check_url(url)
    return found


def issuer_of(endpoints: Endpoints) -> str:
    """Name who vouches; no OpenID provider is called so."""
    return f"oauth2:{endpoints.token_url} {endpoints.userinfo_url}"


def begin(client: ClientOf, endpoints: Endpoints) -> tuple[str, Journey]:
    """Give where to send the visitor, and what to keep until they come back."""
    journey = Journey.new()
    scope = {"scope": endpoints.scope} if endpoints.scope else {}
    return with_query(endpoints.authorize_url, scope | journey.asked(client)), journey


def finish(
    client: ClientOf, endpoints: Endpoints, journey: Journey, answer: Mapping[str, str]
) -> dict[str, Any]:
    """Check what came back and give the claims of who it is. Raises: SignOnFailed.

    Each provider has an address of its own to come back to, so that none answers in another's place.
    """
    journey.check_state(answer)
    form = journey.exchanged(client, code_of(answer)) | {"client_secret": client.client_secret}
    token = _token(read_object(call(endpoints.token_url, form)))
    headers = {"Authorization": f"Bearer {token}"}
    told = read_object(call(endpoints.userinfo_url, headers=headers))
    name = next((told[one] for one in NAMES if isinstance(told.get(one), str)), None)
    claims = told | {"sub": _subject(told.get(endpoints.subject_claim))}
    return claims if name is None else claims | {"preferred_username": name}


def _token(told: Mapping[str, Any]) -> str:
    """Some say with status 200 that a code is wrong. Source: RFC 6749 §5.1, §7.1."""
    token, kind = told.get("access_token"), told.get("token_type", "bearer")
    is_bearer = isinstance(kind, str) and kind.lower() == "bearer"
    if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
        raise SignOnFailed("The provider did not let you in.")
    if not is_bearer:
        raise SignOnFailed("The provider's answer cannot be read.")
    return token


def _subject(told: Any) -> str:
    """A number or a text that is never given to anybody else. Raises: SignOnFailed."""
    is_one = isinstance(told, str | int) and not isinstance(told, bool)
    subject = str(told) if is_one else ""
    if not 0 < len(subject) <= LONGEST_SUBJECT:
        raise SignOnFailed("The provider does not say who you are.")
    return subject
