"""One-time codes of authenticator apps. Pure: no database, no clock of its own; `factors` calls it."""

import base64
import hashlib
import hmac
import secrets
import struct
from urllib.parse import quote, urlencode

DIGITS = 6
STEP_S = 30
WINDOW = 1  # steps before and after: clocks differ, and typing takes a while
SECRET_BYTES = 20  # Source: RFC 4226 §4, the length of HMAC-SHA1's output


def new_secret() -> str:
    """Give 160 random bits in base32, as apps take it."""
    return base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode()


def code(secret: str, step: int) -> str:
    """Give the code of a time step. Source: RFC 4226 §5.3 over RFC 6238's counter."""
    mac = hmac.digest(base64.b32decode(secret), struct.pack(">Q", step), hashlib.sha1)
    offset = mac[-1] & 0xF
    number = struct.unpack(">I", mac[offset : offset + 4])[0] & 0x7FFFFFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def step_at(seconds: float) -> int:
    return int(seconds // STEP_S)


def matching_step(secret: str, text: str, now_s: float) -> int | None:
    """Give the step whose code this is, within the window; every step is compared."""
    middle = step_at(now_s)
    found = None
    for step in range(middle - WINDOW, middle + WINDOW + 1):
        if hmac.compare_digest(code(secret, step).encode(), text.encode()):
            found = step
    return found


def uri(secret: str, username: str, issuer: str) -> str:
    """Give what an app reads from the picture."""
    label = quote(f"{issuer}:{username}", safe="")
    return f"otpauth://totp/{label}?{urlencode({'secret': secret, 'issuer': issuer})}"
