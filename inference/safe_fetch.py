"""The one door for fetching what a stranger names by URL (images today): public addresses only.

A name is resolved once, every address of it is checked, and the connection goes to the checked one;
each redirect is a new URL that passes the same door. Nothing of the hub's goes along: no cookies, no
proxy settings, no credentials.
"""

import asyncio
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import httpx

from inference.public_address import is_public

Address = IPv4Address | IPv6Address
SCHEMES = frozenset({"http", "https"})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
AGENT = "ai-backend-hub"


class FetchFailed(Exception):
    """The message says why, without a word on what lies behind the door."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a fetch may cost. `networks` are private ones that the operator opened."""

    max_bytes: int
    timeout_s: float = 20.0  # for everything together, redirects too
    max_redirects: int = 3
    networks: Sequence[IPv4Network | IPv6Network] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """How to ask; what is not GET follows no redirect."""

    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=lambda: {"Accept": "image/*"})
    body: bytes = b""


async def fetch(url: str, rules: Rules, ask: Ask = Ask()) -> bytes:
    """Give the body of a 200 answer. Raises: FetchFailed."""
    try:
        async with asyncio.timeout(rules.timeout_s):
            return await _follow(url, rules, ask)
    except TimeoutError:
        raise FetchFailed(f"it did not come within {rules.timeout_s:g} s") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError):
        raise FetchFailed("the server cannot be reached") from None


async def _follow(url: str, rules: Rules, ask: Ask) -> bytes:
    for _ in range(rules.max_redirects + 1):
        target = checked_url(url)
        address = await _resolve(target, rules)
        answer = await _ask(target, address, rules, ask)
        if isinstance(answer, bytes):
            return answer
        if ask.method != "GET":
            raise FetchFailed("it is redirected")
        url = _joined(target, answer)
    raise FetchFailed(f"it is redirected more than {rules.max_redirects} times")


def _joined(url: httpx.URL, location: str) -> str:
    try:
        return str(url.join(location))
    except (httpx.InvalidURL, ValueError):
        raise FetchFailed("the URL of a redirect cannot be read") from None


def checked_url(url: str) -> httpx.URL:
    """Raises: FetchFailed for a URL that this door does not open."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError, UnicodeError):
        raise FetchFailed("the URL cannot be read") from None
    if parsed.scheme not in SCHEMES or not parsed.host:
        raise FetchFailed("the URL must start with http:// or https://")
    if parsed.userinfo:
        raise FetchFailed("the URL holds a user or a password")
    return parsed


async def _resolve(url: httpx.URL, rules: Rules) -> Address:
    """Raises: FetchFailed unless every address of the name is an open one."""
    port = url.port or (443 if url.scheme == "https" else 80)
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        addresses = [ip_address(str(entry[4][0])) for entry in found]
    except (OSError, UnicodeError, ValueError):
        raise FetchFailed("the server's name cannot be resolved") from None
    if not addresses or not all(_is_open(address, rules) for address in addresses):
        raise FetchFailed("the server is on no public address")
    return addresses[0]


def _is_open(address: Address, rules: Rules) -> bool:
    if isinstance(address, IPv6Address) and address.scope_id:
        return False
    return is_public(address) or any(address in network for network in rules.networks)


async def _ask(url: httpx.URL, address: Address, rules: Rules, ask: Ask) -> bytes | str:
    """Give the body, or where a redirect leads. The name is told, the checked address is called."""
    headers = {"Host": url.netloc.decode("ascii"), "User-Agent": AGENT}
    headers |= {"Accept-Encoding": "identity", "Connection": "close", **ask.headers}
    limits = dict.fromkeys(("connect", "read", "write", "pool"), rules.timeout_s)
    request = httpx.Request(
        ask.method,
        url.copy_with(host=str(address), fragment=None),
        headers=headers,
        content=ask.body or None,
        extensions={"sni_hostname": url.host, "timeout": limits},
    )
    async with httpx.AsyncHTTPTransport(trust_env=False, retries=0) as transport:
        answer = await transport.handle_async_request(request)
        try:
            return await _read(answer, rules)
        finally:
            await answer.aclose()


async def _read(answer: httpx.Response, rules: Rules) -> bytes | str:
    if answer.status_code in REDIRECTS and "location" in answer.headers:
        location: str = answer.headers["location"]
        return location
    if answer.status_code != 200:
        raise FetchFailed(f"the server answers {answer.status_code}")
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise FetchFailed("the server packs what was asked for unpacked")
    body = bytearray()
    async for piece in answer.aiter_raw():
        body += piece
        if len(body) > rules.max_bytes:
            raise FetchFailed(f"it is over the limit of {rules.max_bytes} bytes")
    return bytes(body)
