"""Whatever somebody called something: every page shows it as text.

A real browser reads the same pages in `tests/e2e/test_hostile_names.py`.
"""

import pytest
from django.test import Client
from django.utils.html import escape

from inference import catalog
from tests.accounts.conftest import PASSWORD, MakeUser
from tests.accounts.hostile_names import MAKERS, ONES, PLANTED, READ, hostile
from tests.accounts.signing import password_step

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("idle_node")]


@pytest.fixture
def browser(person: MakeUser) -> Client:
    root = person("root", "admin", PASSWORD)
    for make in MAKERS.values():
        make(root)
    catalog.invalidate()
    client = Client(headers={"user-agent": hostile("device")})
    password_step(client, "root")
    return client


def test_every_page_shows_names_as_text(browser: Client) -> None:
    shown = set()
    for path in ONES:
        assert browser.get(path).status_code == 200, path  # not only "not found"
    for path in [*READ, *ONES]:
        page = browser.get(path)
        if not page.headers.get("content-type", "").startswith("text/html"):
            continue  # no browser reads markup in it: `nosniff` is on everything
        text = page.content.decode()
        assert "<img src=x" not in text, path
        shown |= {kind for kind in PLANTED if escape(hostile(kind)) in text}
    assert shown == PLANTED
