"""Browsers of other origins may use `/v1` with a key; cookies are never sent along."""

import re

Header = tuple[bytes, bytes]
ALLOWED: list[Header] = [
    (b"access-control-allow-origin", b"*"),
    (
        b"access-control-expose-headers",
        b"x-request-id, x-client-request-id, openai-processing-ms, openai-version, retry-after, "
        b"retry-after-ms, x-should-retry, x-ratelimit-limit-requests, x-ratelimit-limit-tokens, "
        b"x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, "
        b"x-ratelimit-reset-requests, x-ratelimit-reset-tokens, x-hub-deadline-ms, x-hub-queue-ms, "
        b"x-hub-queue-state, x-hub-queue-position, x-hub-queue-eta-ms, x-hub-queue-reason",
    ),
]
_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,2048}\Z")
_USUAL = b"authorization, content-type, x-api-key, x-client-request-id"


def preflight(headers: dict[bytes, bytes]) -> list[Header]:
    """Answer what a browser asks before it sends a request with a key."""
    asked = headers.get(b"access-control-request-headers", b"")
    return [
        (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
        (b"access-control-allow-headers", asked if _NAMES.match(asked) else _USUAL),
        (b"access-control-max-age", b"86400"),
        (b"vary", b"access-control-request-headers"),
    ]
