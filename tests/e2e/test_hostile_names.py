"""Every page in a real browser, with a name that attacks wherever something can be called something.

Once as everybody has them, and once without the content security policy: what would run then is a hole
that only the policy covers.
"""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page

from tests import servers
from tests.accounts.hostile_names import ONES, PLANTED, READ, hostile
from tests.e2e.browsing import overflow_px
from tests.e2e.conftest import Open, sign_in
from tests.servers import Hub

HITS = "window.hits = []; window.hit = (kind) => window.hits.push(kind);"
NARROW = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def named_hub(browser: Browser) -> Iterator[Hub]:
    """A hub of its own: the others' tests count what is there."""
    with servers.hub([]) as started:
        argv = [sys.executable, "-m", "tests.e2e.hostile"]
        subprocess.run(argv, env=started.env, cwd=servers.ROOT, check=True)
        yield started


def readable(page: Page) -> list[str]:
    """Give the pages that open; the others would only be a download or 'not found'."""
    found = []
    for path in [*READ, *ONES]:
        answer = page.request.get(path)
        is_page = answer.headers.get("content-type", "").startswith("text/html")
        if answer.ok and is_page and "<h1" in answer.text():
            found.append(path)
    return found


def told(page: Page) -> set[str]:
    """Give what was planted and is there to be read, or to be filled in."""
    text = page.content()
    shown = page.evaluate("document.documentElement.textContent") + text.replace("&lt;", "<")
    shown = shown.replace("&gt;", ">").replace("&#x27;", "'").replace("&#39;", "'")
    return {kind for kind in PLANTED if hostile(kind) in shown}


@pytest.mark.timeout(280)
@pytest.mark.parametrize("bypass_csp", [False, True])
def test_no_name_runs_on_any_page(named_hub: Hub, opened: Open, bypass_csp: bool) -> None:
    asked = {"user_agent": hostile("device"), "bypass_csp": bypass_csp, "viewport": NARROW}
    page = opened(named_hub.url, **asked)
    page.add_init_script(HITS)
    sign_in(page, "root")
    paths = readable(page)
    assert {*ONES, "/", "/keys/", "/audit/", "/usage/"} <= set(paths)
    seen: set[str] = set()
    for path in paths:
        page.goto(path)
        assert page.locator("img[src=x], [onerror]").count() == 0, path
        assert page.evaluate("[window.hits, window.violations]") == [[], []], path
        assert overflow_px(page) <= 0, path
        seen |= told(page)
    assert seen == PLANTED
