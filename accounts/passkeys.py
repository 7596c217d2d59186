"""Passkeys: WebAuthn's two ceremonies over fido2, at the hub's own address only.

The relying party is the host of AI_HUB_PUBLIC_URL, else localhost; never what a request calls itself.
"""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.factors import drop_idle_codes
from accounts.models import Passkey, User

if TYPE_CHECKING:
    from fido2.server import Fido2Server

CEREMONY_S = 5 * 60
MOST_OF_ONE = 20
NAME_CHARS = 100


class PasskeyRefused(Exception):
    """The browser's answer is not of a passkey that opens anything here."""


def place() -> str:
    """Give the host that passkeys are bound to."""
    return urlsplit(settings.HUB_PUBLIC_URL).hostname or "localhost"


def works_at(host: str) -> bool:
    """Tell whether a browser that calls the hub so can use passkeys."""
    name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    return name.lower() == place()


def begin_adding(user: User) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give what the browser needs, and what to keep until it answers. Raises: PasskeyRefused."""
    from fido2.webauthn import (  # noqa: PLC0415 (only who uses passkeys pays for it)
        AttestedCredentialData,
        PublicKeyCredentialUserEntity,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )

    mine = list(user.passkeys.all())
    if len(mine) >= MOST_OF_ONE:
        raise PasskeyRefused
    entity = PublicKeyCredentialUserEntity(
        id=_handle(user), name=user.username, display_name=user.username
    )
    options, state = _server().register_begin(
        entity,
        credentials=[AttestedCredentialData(bytes(key.credential)) for key in mine],
        resident_key_requirement=ResidentKeyRequirement.REQUIRED,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return dict(options)["publicKey"], _kept(state, user)


def add(user: User, kept: Mapping[str, Any], answer: Mapping[str, Any], name: str) -> Passkey:
    """Keep the public half of a new passkey. Raises: PasskeyRefused."""
    if kept.get("user") != user.pk:
        raise PasskeyRefused
    try:
        found = _server().register_complete(_state(kept), answer)
        data = found.credential_data
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PasskeyRefused from error
    if data is None:
        raise PasskeyRefused
    with transaction.atomic():
        if Passkey.objects.filter(credential_id=data.credential_id.hex()).exists():
            raise PasskeyRefused
        key = Passkey.objects.create(
            user=user,
            name=(name.strip() or "Passkey")[:NAME_CHARS],
            credential_id=data.credential_id.hex(),
            credential=bytes(data),
            sign_count=found.counter,
        )
        after = {"factor": "passkey", "name": key.name}
        audit.record("factor.add", "user", user.username, pk=user.pk, after=after)
    return key


def begin_entering(user: User | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ask for a passkey: of this person, or of whoever the device knows here."""
    from fido2.webauthn import AttestedCredentialData, UserVerificationRequirement  # noqa: PLC0415

    keys = list(user.passkeys.all()) if user else []
    known = [AttestedCredentialData(bytes(key.credential)) for key in keys] or None
    options, state = _server().authenticate_begin(known, UserVerificationRequirement.REQUIRED)
    return dict(options)["publicKey"], _kept(state, user)


def enter(kept: Mapping[str, Any], answer: Mapping[str, Any]) -> User:
    """Give whose passkey signed what was asked. Raises: PasskeyRefused."""
    from fido2.webauthn import AttestedCredentialData, AuthenticationResponse  # noqa: PLC0415

    try:
        shown = AuthenticationResponse.from_dict(answer)
        rows = Passkey.objects.select_related("user").filter(credential_id=shown.raw_id.hex())
        key = rows.filter(user__is_active=True).first()
        if key is None or kept.get("user") not in {None, key.user_id}:
            raise PasskeyRefused
        known = [AttestedCredentialData(bytes(key.credential))]
        _server().authenticate_complete(_state(kept), known, shown)
        handle = shown.response.user_handle
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise PasskeyRefused from error
    if handle and bytes(handle) != _handle(key.user):
        raise PasskeyRefused
    _count(key, shown.response.authenticator_data.counter)
    return key.user


def remove(user: User, pk: int) -> bool:
    """Forget a passkey; tells whether there was one."""
    with transaction.atomic():
        key = Passkey.objects.filter(pk=pk, user=user).first()
        if key is None:
            return False
        key.delete()
        drop_idle_codes(user)
        gone = {"factor": "passkey", "name": key.name}
        audit.record("factor.remove", "user", user.username, pk=user.pk, before=gone)
    return True


def _count(key: Passkey, counter: int) -> None:
    """A counter that does not grow is of a copy. Source: WebAuthn 3 §6.1.1. Raises: PasskeyRefused."""
    fresh = Passkey.objects.filter(pk=key.pk)
    if counter or key.sign_count:
        fresh = fresh.filter(sign_count__lt=counter)
    if not fresh.update(sign_count=counter, last_used_at=timezone.now()):
        raise PasskeyRefused


def _handle(user: User) -> bytes:
    return f"hub-user-{user.pk}".encode()


def _kept(state: Mapping[str, Any], user: User | None) -> dict[str, Any]:
    return {
        "challenge": state["challenge"],
        "user_verification": str(state["user_verification"].value),
        "user": user.pk if user else None,
        "at": int(time.time()),
    }


def _state(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Raises: PasskeyRefused, where it took too long."""
    from fido2.webauthn import UserVerificationRequirement  # noqa: PLC0415

    if not 0 <= time.time() - int(kept.get("at", 0)) < CEREMONY_S:
        raise PasskeyRefused
    needed = UserVerificationRequirement(kept["user_verification"])
    return {"challenge": kept["challenge"], "user_verification": needed}


def _server() -> "Fido2Server":
    from fido2.server import Fido2Server  # noqa: PLC0415
    from fido2.webauthn import PublicKeyCredentialRpEntity  # noqa: PLC0415

    return Fido2Server(
        PublicKeyCredentialRpEntity(id=place(), name="AI Backend Hub"), verify_origin=_is_ours
    )


def _is_ours(origin: str) -> bool:
    """The page is ours by scheme, host and, where the address is configured, port."""
    if settings.HUB_PUBLIC_URL:
        parts = urlsplit(settings.HUB_PUBLIC_URL)
        return origin == f"{parts.scheme}://{parts.netloc}"
    found = urlsplit(origin)
    return found.scheme == "http" and found.hostname == "localhost"
