"""Which hubs a request has come through, so that upstream servers in a circle end at once.

Source: RFC 9110, 7.6.3 (Via). Called by router.py for what goes to another server.
"""

import hashlib

import msgspec
from django.conf import settings

from inference import wire
from inference.errors import UpstreamLoop

MOST = 5  # hubs one behind another
PREFIX = "hub-"
CIRCLE = "the upstream servers lead back to this hub: change the model's address, or its route"
DEEP = f"the request came through {MOST} hubs already: no further one is asked"


def own_name() -> str:
    """All processes of a hub have the same; it tells nothing of the key."""
    digest = hashlib.blake2b(settings.SECRET_KEY.encode(), digest_size=6, person=b"via")
    return PREFIX + digest.hexdigest()


def onward(body: wire.Body, via: str) -> wire.Body:
    """Note in the body which hubs it came through, this one too. Raises: UpstreamLoop."""
    if not isinstance(body, wire.Generate | wire.Embed | wire.Transcribe):
        return body
    names = _hubs(via)
    if own_name() in names:
        raise UpstreamLoop(CIRCLE)
    if len(names) >= MOST:
        raise UpstreamLoop(DEEP)
    passed = ", ".join(f"1.1 {name}" for name in [*names, own_name()])
    return msgspec.structs.replace(body, via=passed)


def _hubs(via: str) -> list[str]:
    """Other proxies name themselves too: they are nothing to us."""
    words = (entry.split() for entry in via[:4096].split(","))
    return [entry[1] for entry in words if len(entry) > 1 and entry[1].startswith(PREFIX)]
