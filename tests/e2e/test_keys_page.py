"""A key's life: made in words, shown once, works, revoked with the consequence named."""

import subprocess
import sys

import httpx
from playwright.sync_api import expect

from accounts import scopes
from tests.e2e.browsing import axe
from tests.e2e.conftest import HOSTILE, Open
from tests.servers import Hub


def test_it_makes_shows_and_revokes_a_key(hub: Hub, as_person: Open) -> None:
    page = as_person("dora")
    page.goto("/keys/")
    expect(page.get_by_role("heading", level=1)).to_have_text("No keys yet.")
    page.get_by_role("link", name="Make the first key").click()
    page.get_by_label("Name", exact=True).fill(HOSTILE)
    expect(page.get_by_label("Manage people")).to_have_count(0)
    page.get_by_role("button", name="Make the key").click()
    key = page.get_by_label("The new key").input_value()
    assert axe(page) == []

    code = page.locator("#text-python").text_content() or ""
    assert key in code
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip()

    page.get_by_role("link", name="back to the keys").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("1 active key.")
    assert key not in page.content()
    expect(page.locator("#keys-table")).to_contain_text("Use models")
    page.get_by_role("button", name=f"Revoke {HOSTILE}").click()
    dialog = page.get_by_role("dialog", name=f"Revoke “{HOSTILE}”?")
    expect(dialog).to_contain_text("cannot be undone")
    dialog.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("status").first).to_contain_text("is revoked")
    expect(page.get_by_text("1 key has ended")).to_be_visible()

    headers = {"Authorization": f"Bearer {key}"}
    assert httpx.get(f"{hub.url}/v1/models", headers=headers).status_code == 401


def test_it_explains_what_is_wrong_with_the_wish(hub: Hub, as_person: Open) -> None:
    page = as_person("ada", allowed=["400 (Bad Request)"])
    page.goto("/keys/new/")
    page.get_by_label("Name", exact=True).fill("narrow")
    page.get_by_text("Narrow it further").click()
    page.get_by_label("Only from these networks").fill("not-a-network")
    page.get_by_role("button", name="Make the key").click()
    expect(page.get_by_role("alert")).to_contain_text("is no network")
    expect(page.get_by_label("Name", exact=True)).to_have_value("narrow")


def test_it_offers_what_opens_something_today(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    page.goto("/keys/new/")
    boxes = page.locator("input[name=scopes]")
    offered = [box.get_attribute("value") for box in boxes.all()]
    assert offered == [*scopes.OFFERED]
    assert set(scopes.OFFERED) < set(scopes.SCOPES)
    expect(page.locator(".sidebar a[aria-current=true]")).to_have_text("Keys")
