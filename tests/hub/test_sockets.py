"""Websockets open for pages of the hub's own only, and not without end."""

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import override_settings

from accounts import notices
from accounts.models import AuditRow
from hub.sockets import Places, SameOrigin


async def enters(origin: str | None, host: str = "127.0.0.1:8000", scheme: str = "ws") -> bool:
    """Tell whether a page of `origin` may open a socket at `host`."""
    let_in: list[bool] = []
    closed: list[Any] = []

    async def inside(_scope: Any, _receive: Any, _send: Any) -> None:
        let_in.append(True)

    async def receive() -> Any:
        raise AssertionError("nothing is read at the door")

    async def send(message: Any) -> None:
        closed.append(message)

    headers = [(b"host", host.encode())]
    headers += [(b"origin", origin.encode("latin-1"))] if origin is not None else []
    scope: dict[str, Any] = {
        "type": "websocket",
        "scheme": scheme,
        "headers": headers,
        "path": "/ws/live/",
    }
    scope["client"] = ("192.0.2.9", 4000)
    await SameOrigin(inside)(scope, receive, send)
    assert bool(let_in) != bool(closed)
    return bool(let_in)


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        ("http://127.0.0.1:8000", "127.0.0.1:8000", "ws"),
        ("http://localhost", "localhost:80", "ws"),
        ("https://LOCALHOST", "localhost", "wss"),
        ("http://[::1]:8000", "[::1]:8000", "ws"),
    ],
)
async def test_it_lets_its_own_pages_in(origin: str, host: str, scheme: str) -> None:
    assert await enters(origin, host, scheme)


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "",
        "null",
        "http://127.0.0.1:9000",  # another program of the same machine
        "http://127.0.0.1",
        "https://127.0.0.1:8000",
        "http://localhost:8000",
        "http://127.0.0.1.example.org:8000",
        "http://example.org",
        "http://127.0.0.1:8000@example.org",
        "file://127.0.0.1:8000",
        "http://127.0.0.1:port",
        "http://\xff",
    ],
)
async def test_it_lets_no_other_page_in(origin: str | None) -> None:
    assert not await enters(origin)


async def test_it_believes_no_host_that_is_not_its_own() -> None:
    assert not await enters("http://evil.example:8000", "evil.example:8000")


@override_settings(CSRF_TRUSTED_ORIGINS=["https://hub.example"])
async def test_it_lets_pages_of_the_public_address_in_behind_a_proxy() -> None:
    assert await enters("https://hub.example", "127.0.0.1:8000")
    assert not await enters("http://hub.example", "127.0.0.1:8000")


def test_a_person_has_so_many_sockets_and_all_together_so_many() -> None:
    places = Places(most_of_one=2, most_of_all=3)
    assert [places.take("user:1") for _ in range(3)] == [True, True, False]
    assert places.take("user:2")
    assert not places.take("user:3")
    places.give_back("user:1")
    assert places.take("user:3")


@pytest.mark.django_db(transaction=True)
async def test_a_page_that_is_turned_away_is_told_to_the_audit_log() -> None:
    assert not await enters("http://evil.example")
    assert await sync_to_async(notices.flush)() == 1
    told = await AuditRow.objects.order_by("-seq").afirst()
    assert told is not None
    assert (told.action, told.actor_kind, told.address) == ("socket.refuse", "nobody", "192.0.2.9")
    assert told.after_values == {"reason": "origin"}
