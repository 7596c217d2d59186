"""Usage in the browser: a request with a key appears, is grouped and saved; limits are edited and act."""

import httpx
from playwright.sync_api import Page, expect

from tests.e2e.browsing import axe
from tests.e2e.conftest import Open
from tests.servers import Hub

CHAT = {"model": "quick", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}


def key_of(page: Page) -> tuple[str, str]:
    """Make a key in the browser; give its public id and the key."""
    page.goto("/keys/new/")
    page.get_by_label("Name", exact=True).fill("counted")
    page.get_by_role("button", name="Make the key").click()
    key = page.get_by_label("The new key").input_value()
    return key.removeprefix("hub_")[:12], key


def ask(hub: Hub, key: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{hub.url}/v1/chat/completions", headers=headers, json=CHAT, timeout=60)


def test_a_request_is_counted_and_a_limit_acts(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    public_id, key = key_of(page)
    assert ask(hub, key).status_code == 200
    page.goto(f"/usage/?range=1&by=key&key={public_id}")
    for _ in range(100):  # it is brought within a second or two
        if page.locator("#usage-table").count():
            break
        page.reload()
    row = page.locator("#usage-table tbody tr").first
    expect(row).to_contain_text("counted")
    expect(page.locator("#usage-chart canvas")).to_be_visible()
    assert axe(page) == []
    with page.expect_download() as saved:
        page.get_by_role("link", name="CSV").click()
    text = saved.value.path().read_text()
    assert text.startswith("key_id,key_name,requests,")
    assert public_id in text

    page.goto("/keys/")
    expect(page.locator("#keys-table")).to_contain_text("counted")
    page.get_by_role("link", name="Limits of “counted”").click()
    page.get_by_label("Requests at the same time").fill("1")
    page.get_by_label("Requests per minute").fill("1")
    page.get_by_role("button", name="Set these limits").click()
    expect(page.get_by_role("status").first).to_contain_text("The limits are kept")
    answers = [ask(hub, key) for _ in range(3)]  # the process that was told knows at once
    assert {answer.status_code for answer in answers} == {200, 429}


def test_a_wrong_limit_is_told_beside_its_field(hub: Hub, as_person: Open) -> None:
    page = as_person("ada", allowed=["400 (Bad Request)"])
    page.goto("/limits/of/model/quick/")
    page.get_by_label("Requests per minute").fill("many")
    page.get_by_role("button", name="Set these limits").click()
    expect(page.get_by_role("alert")).to_contain_text("whole number")
    page.get_by_label("Requests per minute").fill("60 000")
    page.get_by_role("button", name="Set these limits").click()
    expect(page.get_by_role("status").first).to_contain_text("The limits are kept")
    expect(page.locator("#limits-table")).to_contain_text("60.0k")
