"""The first five minutes: link, admin, machine, first chat, first key."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests import servers
from tests.e2e.browsing import axe, overflow_px
from tests.e2e.conftest import Open, fake, tell
from tests.e2e.prepare import PASSWORD
from tests.servers import Hub


@pytest.fixture(scope="module")
def fresh(browser: Browser) -> Iterator[tuple[Hub, str]]:
    """A hub that nobody has entered, and its set-up link."""
    hello = fake("hello", reply="Hello from your own machine")
    with servers.hub(models=[hello]) as hub:
        yield hub, tell(hub, nobody=hub.url)


def restart_node(hub: Hub) -> None:
    """Its counters end with it; what they showed is remembered."""
    hub.processes["node"].terminate()
    hub.processes["node"].wait(servers.STOP_TIMEOUT_S)
    servers.start(hub, "node", "serve_models")


def test_it_leads_from_the_link_to_a_working_key(fresh: tuple[Hub, str], opened: Open) -> None:
    hub, link = fresh
    page = opened(hub.url, allowed=["400 (Bad Request)", "404 (Not Found)"])
    page.goto(f"{link[:-2]}/")
    expect(page.get_by_role("heading", name="This link is not valid")).to_be_visible()
    page.goto(link)
    assert axe(page) == []
    page.get_by_label("User name").fill("grace")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill("something else")
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_text("The two passwords differ.")).to_be_visible()
    expect(page.get_by_label("Password", exact=True)).to_be_focused()

    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_role("heading", name="Your hub is running.")).to_be_visible()
    expect(page.get_by_text(str(hub.data))).to_be_visible()
    expect(page.locator("#panel-starters")).to_contain_text("hello")
    expect(page.locator("#panel-memory .memory-bar").first).to_be_visible()

    page.get_by_role("button", name="Send").click()
    expect(page.locator(".hello-log")).to_contain_text("Hello from your own machine")
    expect(page.locator(".hello-stats")).to_contain_text("tok/s")
    current = page.locator(".setup-steps [aria-current]")
    expect(current).to_contain_text("First key")
    expect(page.locator(".setup-steps .done")).to_have_count(3)
    restart_node(hub)
    page.reload()
    expect(page.locator(".setup-steps .done")).to_have_count(3)
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".hello-log")).to_contain_text("Hello from your own machine")

    page.get_by_role("button", name="Make a key").click()
    expect(page.locator(".setup-steps .done")).to_have_count(4)
    expect(page.locator(".hello-log")).to_contain_text("Hello from your own machine")
    key = page.get_by_label("The new key").input_value()
    assert key in page.locator("#text-curl").inner_text()
    with httpx.Client(headers={"Authorization": f"Bearer {key}"}) as client:
        listed = client.get(f"{hub.url}/v1/models").json()["data"]
    assert "hello" in [model["id"] for model in listed]
    assert axe(page) == []
    page.reload()  # what is done stays done
    expect(page.locator(".setup-steps .done")).to_have_count(4)
    expect(page.get_by_role("link", name="See the keys")).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 844})
    assert overflow_px(page) <= 0

    again = opened(hub.url, allowed=["404 (Not Found)"])
    again.goto(link)
    expect(again.get_by_role("heading", name="This link is used up")).to_be_visible()
    assert axe(again) == []
