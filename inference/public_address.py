"""Which addresses are of the public internet. Pure; whoever connects on somebody's word asks it."""

from ipaddress import IPv4Address, IPv6Address, ip_network

# Python's is_global says yes to these, which can carry a private IPv4 address inside (NAT64, 6to4, Teredo,
# IPv4-compatible) or are private by an older rule (site-local).
TUNNELS = [
    ip_network(text)
    for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96", "fec0::/10")
]


def is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        if any(address in tunnel for tunnel in TUNNELS):
            return False
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
    return address.is_global and not address.is_multicast
