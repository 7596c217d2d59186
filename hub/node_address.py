"""Reach the node at `unix:/path` or `tcp:host:port`."""

import asyncio

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connect(address: str) -> Connection:
    """Raises: OSError."""
    scheme, _, place = address.partition(":")
    if scheme == "unix":
        return await asyncio.open_unix_connection(place)
    host, _, port = place.lstrip("/").rpartition(":")
    return await asyncio.open_connection(host.strip("[]"), int(port))
