"""The address of a client, as the server names it. Pure; the door, `last_use` and `addresses` read it."""

from ipaddress import IPv4Address, IPv6Address, ip_address


def read(client_ip: str | None) -> IPv4Address | IPv6Address | None:
    """Give it without a zone, which means something on one machine only; None for a unix socket.

    An IPv4 client of a socket for both comes as ::ffff:192.0.2.1 and is given as 192.0.2.1.
    """
    try:
        address = ip_address((client_ip or "").partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
