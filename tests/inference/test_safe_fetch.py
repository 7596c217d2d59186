"""The door for foreign URLs: what it opens, and every spelling of an address that it does not."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from inference.safe_fetch import FetchFailed, Rules, fetch

LOOPBACK = [ip_network("127.0.0.1/32")]
OPEN = Rules(max_bytes=1_000, timeout_s=10, networks=LOOPBACK)
CLOSED = Rules(max_bytes=1_000, timeout_s=10)
Handler = Callable[[str], bytes]


class Server:
    """Answers each path with raw bytes and remembers the heads of what it was asked."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self._answers = answers
        self.heads: list[str] = []
        self.port = 0

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        writer.write(self._answers.get(head.split()[1], b"HTTP/1.1 404 Not Found\r\n\r\n"))
        await writer.drain()
        writer.close()


@asynccontextmanager
async def serving(**answers: bytes) -> AsyncIterator[Server]:
    made = Server({f"/{name}": answer for name, answer in answers.items()})
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield made


def ok(body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 200 OK\r\n{lines}\r\n".encode() + body


def moved(to: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n".encode()


async def test_it_fetches_what_is_open() -> None:
    async with serving(a=ok(b"hello")) as server:
        assert await fetch(server.url("/a"), OPEN) == b"hello"
        (head,) = server.heads
    assert f"Host: 127.0.0.1:{server.port}\r\n" in head
    assert "cookie" not in head.lower()
    assert "authorization" not in head.lower()


async def test_a_name_is_told_and_its_checked_address_is_called() -> None:
    async with serving(a=ok(b"hello")) as server:
        both = [*LOOPBACK, ip_network("::1/128")]
        rules = Rules(max_bytes=1_000, networks=both)
        if len(socket.getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)) == 1:
            assert await fetch(server.url("/a", "localhost"), rules) == b"hello"
            assert f"Host: localhost:{server.port}\r\n" in server.heads[0]
        with pytest.raises(FetchFailed, match="no public address"):
            await fetch(server.url("/a", "localhost"), CLOSED)


SPELLINGS = [
    "127.0.0.1", "127.1", "2130706433", "017700000001", "0x7f.0x0.0x0.0x1", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.0.0.1.",
    "localhost", "LOCALHOST", "localhost.", "①②⑦.⓪.⓪.①", "127。0。0。1", "0.0.0.0", "0",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]",
    "[64:ff9b::127.0.0.1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001::7f00:1]",
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "[fe80::1]",
    "[fd00:ec2::254]", "[fec0::1]", "192.0.0.1", "198.18.0.1", "224.0.0.1", "[ff02::1]",
    "255.255.255.255", "240.0.0.1", "192.0.2.1", "[2001:db8::1]", "[::ffff:10.0.0.1]",
    "[64:ff9b::a00:1]", "[fe80::1%25lo]",
]  # fmt: skip


@pytest.mark.parametrize("host", SPELLINGS)
async def test_no_spelling_of_a_private_address_is_called(host: str) -> None:
    async with serving(a=ok(b"secret")) as server:
        refused = "no public address|cannot be resolved|URL cannot be read"
        with pytest.raises(FetchFailed, match=refused):
            await fetch(server.url("/a", host), CLOSED)
        assert server.heads == []


@pytest.fixture
def rebinding(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Let `rebind.test` have the addresses of the first list at its first look-up, and so on."""
    answers: list[list[str]] = []
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *more: int, **options: int) -> object:
        if host != "rebind.test":
            return real(host, port, *more, **options)
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*kind, (address, port)) for address in answers.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return answers


async def test_a_name_that_changes_its_address_is_looked_up_once(
    rebinding: list[list[str]],
) -> None:
    """The second answer, which would lead elsewhere, is never asked for."""
    rebinding += [["127.0.0.1"], ["127.0.0.2"]]
    async with serving(a=ok(b"hello")) as server:
        assert await fetch(server.url("/a", "rebind.test"), OPEN) == b"hello"
    assert rebinding == [["127.0.0.2"]]


async def test_a_redirect_to_the_same_name_is_looked_up_and_checked_anew(
    rebinding: list[list[str]],
) -> None:
    rebinding += [["127.0.0.1"], ["127.0.0.2"]]
    async with serving(a=moved("/b"), b=ok(b"secret")) as server:
        with pytest.raises(FetchFailed, match="no public address"):
            await fetch(server.url("/a", "rebind.test"), OPEN)
        assert len(server.heads) == 1


async def test_one_closed_address_closes_a_name(rebinding: list[list[str]]) -> None:
    rebinding += [["127.0.0.1", "10.0.0.1"]]
    async with serving(a=ok(b"hello")) as server:
        with pytest.raises(FetchFailed, match="no public address"):
            await fetch(server.url("/a", "rebind.test"), OPEN)
        assert server.heads == []


@pytest.mark.parametrize("host", ["127.0.0.2", "0x7f.2", "[::1]", "169.254.169.254"])
async def test_a_redirect_passes_the_same_door(host: str) -> None:
    """The operator opened one address of loopback; its neighbours stay closed."""
    rules = Rules(max_bytes=1_000, timeout_s=10, networks=LOOPBACK)
    async with serving(a=ok(b"secret")) as inner:
        async with serving(b=moved(inner.url("/a", host))) as outer:
            with pytest.raises(FetchFailed, match=r"no public address|cannot be resolved"):
                await fetch(outer.url("/b"), rules)
        assert inner.heads == []
        assert len(outer.heads) == 1


async def test_it_follows_redirects_but_not_for_ever() -> None:
    async with serving(a=moved("/b"), b=moved("c"), c=ok(b"there"), d=moved("/d")) as server:
        assert await fetch(server.url("/a"), OPEN) == b"there"
        with pytest.raises(FetchFailed, match="3 times"):
            await fetch(server.url("/d"), OPEN)
        assert len(server.heads) == 3 + 4


@pytest.mark.parametrize(
    "to", ["file:///etc/passwd", "gopher://127.0.0.1/", "data:,x", "http://user:pw@127.0.0.1/"]
)
async def test_a_redirect_may_not_leave_the_web(to: str) -> None:
    async with serving(a=moved(to)) as server:
        with pytest.raises(FetchFailed, match="URL"):
            await fetch(server.url("/a"), OPEN)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://x/y",
        "//x",
        "http://",
        "http:///x",
        "http://u:p@example.org/",
        "x",
    ],
)
async def test_it_opens_no_other_url(url: str) -> None:
    with pytest.raises(FetchFailed, match="URL"):
        await fetch(url, OPEN)


async def test_bytes_are_counted_as_they_come() -> None:
    lies = ok(b"x" * 5_000, "Content-Length: 5000")
    async with serving(a=lies, b=ok(b"x" * 5_000), c=ok(b"x" * 1_000)) as server:
        for path in ("/a", "/b"):
            with pytest.raises(FetchFailed, match="1000 bytes"):
                await fetch(server.url(path), OPEN)
        assert len(await fetch(server.url("/c"), OPEN)) == 1_000


async def test_nothing_is_unpacked() -> None:
    async with serving(a=ok(b"x", "Content-Encoding: gzip")) as server:
        with pytest.raises(FetchFailed, match="packs"):
            await fetch(server.url("/a"), OPEN)


async def test_a_server_that_does_not_answer_costs_no_more_than_the_limit() -> None:
    held = asyncio.Event()

    async def silent(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await held.wait()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        rules = Rules(max_bytes=10, timeout_s=0.2, networks=LOOPBACK)
        with pytest.raises(FetchFailed, match=r"within 0\.2 s"):
            await fetch(f"http://127.0.0.1:{port}/", rules)
        held.set()


async def test_an_error_tells_its_status_only() -> None:
    async with serving(a=b"HTTP/1.1 500 Oh\r\n\r\nsecret") as server:
        with pytest.raises(FetchFailed, match="the server answers 500"):
            await fetch(server.url("/a"), OPEN)
    with pytest.raises(FetchFailed, match="cannot be reached"):
        await fetch(server.url("/a"), OPEN)
