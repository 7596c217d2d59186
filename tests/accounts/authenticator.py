"""A security key in software: makes passkeys and signs with them, at whatever address it is told."""

import hashlib
import json
import secrets
import struct
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2.cose import ES256
from fido2.utils import websafe_encode
from fido2.webauthn import (
    Aaguid,
    AttestationObject,
    AttestedCredentialData,
    AuthenticatorData,
)

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


@dataclass
class Authenticator:
    """`origin`, `place` and `flags` are what the browser and the device say of themselves."""

    origin: str = "http://localhost:8000"
    place: str = "localhost"
    flags: int = PRESENT | VERIFIED
    counter: int = 0
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    credential_id: bytes = field(default_factory=lambda: secrets.token_bytes(16))
    handle: bytes = b""

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        self.handle = _bytes(options["user"]["id"])
        public = ES256.from_cryptography_key(self.key.public_key())  # type: ignore[no-untyped-call]
        data = AttestedCredentialData.create(Aaguid.NONE, self.credential_id, public)
        found = AuthenticatorData.create(
            self._place_hash(), AuthenticatorData.FLAG(self.flags | ATTESTED), self.counter, data
        )
        client = self._client("webauthn.create", options["challenge"])
        shown = AttestationObject.create("none", found, {})
        return self._answer({"clientDataJSON": client, "attestationObject": bytes(shown)})

    def get(self, options: dict[str, Any]) -> dict[str, Any]:
        self.counter += 1
        data = self._place_hash() + struct.pack(">BI", self.flags, self.counter)
        client = self._client("webauthn.get", options["challenge"])
        message = data + hashlib.sha256(client).digest()
        signature = self.key.sign(message, ec.ECDSA(hashes.SHA256()))
        parts = {"clientDataJSON": client, "authenticatorData": data, "signature": signature}
        return self._answer(parts | {"userHandle": self.handle})

    def _place_hash(self) -> bytes:
        return hashlib.sha256(self.place.encode()).digest()

    def _client(self, kind: str, challenge: str) -> bytes:
        told = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return json.dumps(told).encode()

    def _answer(self, parts: dict[str, bytes]) -> dict[str, Any]:
        name = websafe_encode(self.credential_id)
        response = {key: websafe_encode(value) for key, value in parts.items()}
        return {"id": name, "rawId": name, "type": "public-key", "response": response}


def _bytes(text: str) -> bytes:
    from fido2.utils import websafe_decode  # noqa: PLC0415

    return websafe_decode(text)
