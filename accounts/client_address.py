"""The address of a client, as the server names it. Pure; the door, `last_use`, `addresses` and `throttle` read it."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

SUBSCRIBER_BITS = 64  # of an IPv6 address: what one subscriber has at least


def read(client_ip: str | None) -> IPv4Address | IPv6Address | None:
    """Give it without a zone, which means something on one machine only; None for a unix socket.

    An IPv4 client of a socket for both comes as ::ffff:192.0.2.1 and is given as 192.0.2.1.
    """
    try:
        address = ip_address((client_ip or "").partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def place_of(client_ip: str | None, bits: int = SUBSCRIBER_BITS) -> str:
    """Give an IPv4 address, or the network of an IPv6 one; empty for a unix socket.

    One subscriber has 2**64 IPv6 addresses or more: who counts by address counts by network.
    """
    address = read(client_ip)
    if address is None:
        return ""
    if address.version == 4:
        return str(address)
    return str(ip_network(f"{address}/{bits}", strict=False))
