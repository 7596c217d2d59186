"""The overview moves by itself: pushed, polled when the socket is down, still when paused."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import WebSocketRoute, expect

from tests.e2e.conftest import Open
from tests.servers import Hub


@contextmanager
def talking(hub: Hub, model: str) -> Iterator[None]:
    """Keep one streamed request running."""
    body = {"model": model, "messages": [{"role": "user", "content": "go"}], "max_tokens": 4000}
    ended = threading.Event()
    began = threading.Event()

    def read() -> None:
        with (
            hub.client() as client,
            client.stream("POST", "/chat/completions", json=body | {"stream": True}) as answer,
        ):
            for _line in answer.iter_lines():
                began.set()
                if ended.is_set():
                    return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert began.wait(30)
        yield
    finally:
        ended.set()
        reader.join()


def test_it_shows_a_request_while_it_runs(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    page.goto("/")
    expect(page.locator("#live-word")).to_have_text("Live")
    with talking(hub, "slow"):
        row = page.locator("#activity-table tr", has_text="slow")
        expect(row.locator("[data-state=busy]")).to_be_visible()
        expect(page.locator("#panel-figures .figure-value").first).to_contain_text("1")
        expect(page.get_by_role("heading", level=1)).to_contain_text("loaded")
        expect(page.locator("#panel-memory")).to_contain_text("slow")
        page.get_by_text("Show as a table").click()
        expect(page.locator("#panel-traffic tbody tr").first).to_be_visible()
    expect(row.locator("[data-state=ready]")).to_be_visible()
    expect(page.locator("#panel-traffic details")).to_have_attribute("open", "")
    expect(page.locator("#panel-decisions")).to_contain_text("slow")


def test_it_polls_when_the_socket_is_down(hub: Hub, as_person: Open) -> None:
    page = as_person("ada", allowed=["WebSocket", "htmx:wsError"])

    def refuse(socket: WebSocketRoute) -> None:
        socket.close(code=1011)

    page.route_web_socket("**/ws/live/**", refuse)
    page.goto("/models/")
    expect(page.locator("#live-word")).to_have_text("Polling")
    with talking(hub, "slow"):
        row = page.locator("tr[data-model=slow]")
        expect(row.locator("[data-state=busy]")).to_be_visible()


def test_it_stands_still_when_paused(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    page.goto("/models/")
    row = page.locator("tr[data-model=slow]")
    expect(page.locator("#live-word")).to_have_text("Live")
    expect(row.locator("[data-state=busy]")).to_have_count(0)
    page.locator("#live-toggle").click()
    expect(page.locator("#live-word")).to_have_text("Paused")
    other = as_person("ada")
    other.goto("/models/")
    with talking(hub, "slow"):
        expect(other.locator("tr[data-model=slow] [data-state=busy]")).to_be_visible()
        expect(row.locator("[data-state=busy]")).to_have_count(0)
        page.locator("#live-toggle").click()
        expect(row.locator("[data-state=busy]")).to_be_visible()


def test_it_names_a_failed_model_and_offers_a_way_out(hub: Hub, as_person: Open) -> None:
    with hub.client() as client:
        body = {"model": "broken", "messages": [{"role": "user", "content": "x"}]}
        assert client.post("/chat/completions", json=body).status_code == 503
    page = as_person("ada")
    page.goto("/")
    concern = page.locator(".concern", has_text="broken failed")
    expect(concern).to_contain_text("The weights are torn")
    expect(concern.get_by_role("button", name="Load again")).to_be_visible()


def test_a_first_view_knows_what_was_served_before_it(hub: Hub, as_person: Open) -> None:
    body = {"model": "quick", "messages": [{"role": "user", "content": "hi"}]}
    with hub.client() as client:
        for _ in range(3):
            assert client.post("/chat/completions", json=body).status_code == 200
    page = as_person("ada")
    page.goto("/")
    figures = page.locator("#panel-figures")
    expect(figures).to_contain_text(re.compile(r"([3-9]|\d\d+) in the last minute"))
    expect(figures).to_contain_text("on average while busy")
    page.get_by_text("Show as a table").click()
    rates = page.locator("#panel-traffic tbody td:nth-child(2)", has_text=re.compile(r"[1-9]"))
    expect(rates.first).to_be_visible()
    expect(page.locator(".u-legend")).not_to_contain_text("--")
