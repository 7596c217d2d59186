"""Chromium for the tests: where it is, how it starts, and what it complained about."""

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import ConsoleMessage, Page

ARGS = [
    "--no-sandbox",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa", "best-practice"]
VIOLATIONS = """window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sourceFile}`));"""


def executable() -> str:
    """Skip where there is no Chromium; fail under CI."""
    named = os.environ.get("AI_HUB_TEST_CHROMIUM")
    found = named or next((path for name in NAMES if (path := shutil.which(name))), None)
    if found:
        return found
    message = "no Chromium: install it (apt-get install chromium) or set AI_HUB_TEST_CHROMIUM"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


# What htmx says of a request that was under way when the page was left.
LEFT = ("htmx:afterRequest,", "htmx:sendAbort,")


@dataclass
class Watch:
    """Collects console errors, script errors and CSP violations of a page."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)  # parts of complaints that a test expects

    def __post_init__(self) -> None:
        self.page.add_init_script(VIOLATIONS)
        self.page.on("console", self._on_console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _on_console(self, message: ConsoleMessage) -> None:
        left = message.text.startswith(LEFT)
        if message.type in {"error", "warning"} and not left:
            self.complaints.append(f"{message.text} ({message.location.get('url')})")

    def check(self) -> None:
        found = [*self.complaints, *self.page.evaluate("window.violations || []")]
        bad = [text for text in found if not any(part in text for part in self.allowed)]
        assert not bad, bad


def axe(page: Page, rules: list[str] = RULES) -> list[str]:
    """Give the rules that the page breaks, with the places."""
    page.evaluate(AXE.read_text())
    options = {"runOnly": rules, "resultTypes": ["violations"]}
    result: dict[str, Any] = page.evaluate("async (options) => axe.run(document, options)", options)
    return [
        f"{violation['id']}: {node['target']} {node.get('failureSummary', '')[:200]}"
        for violation in result["violations"]
        for node in violation["nodes"]
    ]


def overflow_px(page: Page) -> int:
    """Give by how much the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


def cut_px(page: Page) -> int:
    """Give by how much the widest table is wider than its frame."""
    widths = "(all) => all.map((one) => one.scrollWidth - one.clientWidth)"
    cut: list[int] = page.locator(".table-wrap").evaluate_all(widths)
    return max(cut, default=0)


def missing_icons(page: Page) -> list[str]:
    """Give the icons that the page names and the sprite does not have."""
    return list(
        page.evaluate(
            """async () => {
              const uses = [...document.querySelectorAll("use")].map((use) => use.getAttribute("href"));
              if (!uses.length) return [];
              const sprite = await (await fetch(uses[0].split("#")[0])).text();
              return [...new Set(uses)].filter((use) => !sprite.includes(`id="${use.split("#")[1]}"`));
            }"""
        )
    )
