"""Signing in and out, and what a visitor without rights sees."""

import socket
import struct
import time
from collections.abc import Callable
from contextlib import ExitStack, closing

import httpx
import pytest
from playwright.sync_api import expect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from tests.e2e.browsing import axe
from tests.e2e.conftest import Open, sign_in, tell
from tests.e2e.prepare import PASSWORD
from tests.servers import Hub


def test_it_leads_back_to_the_page_that_was_wanted(hub: Hub, opened: Open) -> None:
    page = opened(hub.url, allowed=["401 (Unauthorized)"])
    page.goto("/models/")
    assert "/login/?next=/models/" in page.url
    page.get_by_label("User name").fill("ada")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("not right")
    page.get_by_label("Password").fill("a long enough pass phrase 7")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("/models/")
    page.get_by_label("Account: ada").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("/login/")
    page.goto("/")
    assert "/login/" in page.url


def test_a_new_password_signs_other_browsers_out(hub: Hub, opened: Open) -> None:
    tell(hub, people={"pia": "viewer"})
    page, elsewhere = opened(hub.url, allowed=["400 (Bad Request)"]), opened(hub.url)
    for browser in (page, elsewhere):
        sign_in(browser, "pia")
    page.get_by_label("Account: pia").click()
    page.get_by_role("link", name="My account").click()
    page.get_by_label("Password now").fill("wrong")
    for label in ("New password", "New password again"):
        page.get_by_label(label, exact=True).fill("another pass phrase 8")
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_label("Password now")).to_have_attribute("aria-invalid", "true")
    assert axe(page) == []
    page.get_by_label("Password now").fill(PASSWORD)
    for label in ("New password", "New password again"):
        page.get_by_label(label, exact=True).fill("another pass phrase 8")
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_role("status").first).to_contain_text("Your password is changed")
    elsewhere.goto("/account/")
    assert "/login/?next=/account/" in elsewhere.url


def test_it_never_leads_to_another_site(hub: Hub, opened: Open) -> None:
    page = opened(hub.url)
    page.goto("/login/?next=https://example.org/")
    page.get_by_label("User name").fill("ada")
    page.get_by_label("Password").fill("a long enough pass phrase 7")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("/")


def test_it_shows_a_viewer_no_levers(hub: Hub, as_person: Open) -> None:
    page = as_person("vera", allowed=["403 (Forbidden)"])
    page.goto("/models/")
    expect(page.get_by_role("link", name="quick")).to_be_visible()
    expect(page.get_by_role("button", name="Load quick")).to_have_count(0)
    expect(page.get_by_role("link", name="Keys")).to_have_count(0)
    page.goto("/keys/")
    expect(page.get_by_role("heading", name="This is not yours to see")).to_be_visible()
    assert axe(page) == []
    token = page.evaluate("document.body.dataset.csrf")
    proof = {"X-CSRFToken": token, "Origin": hub.url}
    assert page.request.post("/models/load/quick/", headers=proof).status == 403


def test_it_refuses_an_act_without_the_forms_token(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    answer = page.request.post("/models/load/quick/", headers={"Origin": "https://example.org"})
    assert answer.status == 403


def test_it_answers_strangers_with_the_sign_in_page_only(hub: Hub) -> None:
    for path in ("/", "/models/", "/playground/", "/keys/", "/system/", "/panels/models/"):
        answer = httpx.get(hub.url + path)
        assert answer.status_code == 302, path
        assert answer.headers["location"].startswith("/login/"), path


def test_it_lets_no_stranger_watch(hub: Hub) -> None:
    address = f"ws://127.0.0.1:{hub.port}/ws/live/?panels=models"
    with pytest.raises(InvalidStatus) as refused:
        connect(address, origin=Origin(hub.url))
    assert refused.value.response.status_code == 403


def once_there_is_room(view: Callable[[], ClientConnection]) -> None:
    """Who leaves gives the place back a moment later."""
    until_s = time.monotonic() + 10
    while True:
        try:
            assert "panel-figures" in str(view().recv(timeout=10))
            return
        except ConnectionClosed:
            assert time.monotonic() < until_s
            time.sleep(0.05)


def test_it_opens_no_more_than_twenty_live_views_of_one_person(hub: Hub, opened: Open) -> None:
    page = opened(hub.url)
    sign_in(page, "vera")
    cookies = "; ".join(f"{c['name']}={c['value']}" for c in page.context.cookies())
    page.goto("about:blank")
    address = f"ws://127.0.0.1:{hub.port}/ws/live/?panels=figures"
    with ExitStack() as stack:

        def view() -> ClientConnection:
            headers = {"Cookie": cookies}
            opened = connect(address, origin=Origin(hub.url), additional_headers=headers)
            return stack.enter_context(opened)

        for _ in range(20):
            once_there_is_room(view)
        with pytest.raises(ConnectionClosed) as closed:
            read_on(view())
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4429
    assert "too many" in closed.value.rcvd.reason


def test_it_ends_the_live_view_of_a_disabled_person(hub: Hub, opened: Open) -> None:
    page = opened(hub.url)
    sign_in(page, "lena")
    cookies = "; ".join(f"{c['name']}={c['value']}" for c in page.context.cookies())
    page.goto("about:blank")
    address = f"ws://127.0.0.1:{hub.port}/ws/live/?panels=figures"
    headers = {"Cookie": cookies}
    with connect(address, origin=Origin(hub.url), additional_headers=headers) as live:
        assert "panel-figures" in str(live.recv(timeout=10))
        tell(hub, disable="lena")
        with pytest.raises(ConnectionClosed) as closed:
            read_on(live)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4403


def read_on(live: ClientConnection) -> None:
    while True:
        live.recv(timeout=10)


def test_it_keeps_no_place_for_who_leaves_while_being_let_in(hub: Hub, opened: Open) -> None:
    """Twice as many as there are places knock and are gone before the door is open."""
    page = opened(hub.url)
    sign_in(page, "rosa")
    cookies = "; ".join(f"{c['name']}={c['value']}" for c in page.context.cookies())
    page.goto("about:blank")
    for _ in range(40):
        knock_and_leave(hub, cookies)
    address = f"ws://127.0.0.1:{hub.port}/ws/live/?panels=figures"
    headers = {"Cookie": cookies}
    with ExitStack() as stack:

        def view() -> ClientConnection:
            live = connect(address, origin=Origin(hub.url), additional_headers=headers)
            return stack.enter_context(live)

        once_there_is_room(view)


def knock_and_leave(hub: Hub, cookies: str) -> None:
    asked = (
        "GET /ws/live/?panels=figures HTTP/1.1",
        f"Host: 127.0.0.1:{hub.port}",
        f"Origin: {hub.url}",
        f"Cookie: {cookies}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    with closing(socket.create_connection(("127.0.0.1", hub.port))) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.sendall("\r\n".join((*asked, "", "")).encode())
