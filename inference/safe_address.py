"""Which addresses the hub may call on somebody's word: no loopback, no private or special network.

Used for upstream servers and for redirects of the model hub. The operator may allow all of them.
"""

import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from django.conf import settings

from inference import public_address
from inference.errors import InvalidValue


def check_upstream(url: str, param: str) -> str:
    """Give the address without a slash at its end. Raises: InvalidValue."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidValue("the address cannot be read", param=param) from None
    is_web = parts.scheme in {"http", "https"} and port != 0
    if not is_web or not parts.hostname or len(url) > 512:
        raise InvalidValue("an address starts with http:// or https://", param=param)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InvalidValue("an address has no user, query or fragment; use api_key", param=param)
    if not settings.HUB_PRIVATE_UPSTREAMS and not public_addresses(parts.hostname):
        raise InvalidValue(
            f"{parts.hostname} cannot be resolved or is no public address"
            " (AI_HUB_PRIVATE_UPSTREAMS=allow permits private ones)",
            param=param,
        )
    return url.rstrip("/")


def public_addresses(host: str) -> list[IPv4Address | IPv6Address]:
    """Resolve as a client would, and look at every address; none if one of them is not public."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    except (OSError, ValueError, UnicodeError):
        return []
    return addresses if all(public_address.is_public(address) for address in addresses) else []
