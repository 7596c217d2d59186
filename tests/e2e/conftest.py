"""One real hub for the browser tests: web, node and Valkey, with fake engines that can be steered."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, StorageState, expect, sync_playwright

from tests import models, servers
from tests.e2e import browsing
from tests.e2e.browsing import Watch
from tests.e2e.prepare import PASSWORD
from tests.inference import hub_server, tiny_files
from tests.inference.hub_server import Behaviour
from tests.servers import Hub

PEOPLE = {"ada": "admin", "dora": "developer", "vera": "viewer", "lena": "viewer", "rosa": "viewer"}
HOSTILE = "evil<img src=x onerror=alert(1)>"
HOSTILE_REPLY = (
    "**bold** <img src=x onerror=window.hacked=1> <script>window.hacked=1</script> "
    "[link](javascript:window.hacked=1) ![pic](http://198.51.100.7/x.png) "
    "<a href='https://example.org' style='position:fixed' onclick='window.hacked=1'>safe</a>"
)


def fake(name: str, kind: str = "llm", **options: Any) -> dict[str, Any]:
    """Describe a model of the fake engine."""
    return {
        "name": name,
        "kind": kind,
        "engine": "fake",
        "path": "/nowhere",
        "size_bytes": 1_000_000,
        "context_tokens": 4096,
        "quantization": "none",
        "settings": {"options": {"memory_bytes": 20_000_000} | options},
    }


ABOUT_TINY: dict[str, object] = {
    "downloads": 12_345,
    "likes": 67,
    "tags": ["llama", "license:apache-2.0"],
    "pipeline_tag": "text-generation",
    "safetensors": {"parameters": {"F32": 2**20}, "total": 2**20},
}
MODELS = [
    fake("quick", reply="one two three four five"),
    fake("slow", tokens_per_s=20, reply="la"),
    fake("hostile", reply=HOSTILE_REPLY),
    fake("broken", fail_load="the weights are torn"),
    fake("heavy", load_s=1.5),
    fake("lonely"),
    fake("vectors", kind="embed"),
    fake("ears", kind="asr"),
    fake("stone-deaf", kind="asr", fail_load="the ears are shut"),
    fake(HOSTILE),
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/e2e" in str(item.path):
            item.add_marker(pytest.mark.e2e)


def tell(hub: Hub, **wanted: Any) -> str:
    """Change people from outside, as a command on the machine would."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.prepare"],
        env=hub.env,
        cwd=servers.ROOT,
        input=json.dumps(wanted),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def real_chat_model() -> dict[str, Any]:
    """Describe the starter that really chats."""
    file = models.smollm2_gguf()
    return {
        "name": "smollm2-135m-instruct",
        "kind": "llm",
        "engine": "llm_gguf",
        "path": str(file),
        "size_bytes": file.stat().st_size,
        "context_tokens": 2048,
    }


@pytest.fixture(scope="package")
def model_hub() -> Iterator[Behaviour]:
    """A hub of models to download from; large files stop half-way while its gate is shut."""
    files = tiny_files.files(vocab_size=2**18)
    about: dict[str, dict[str, object]] = {"org/tiny": ABOUT_TINY}
    with hub_server.serving(Behaviour({"org/tiny": files}, about=about)) as started:
        yield started


@pytest.fixture(scope="package")
def hub(browser: Browser, model_hub: Behaviour) -> Iterator[Hub]:
    """Chromium first: without it the hub need not start."""
    aliases = {"gpt-4o": "quick"}
    with servers.hub(MODELS, aliases, AI_HUB_HF_ENDPOINT=model_hub.url) as started:
        tell(started, people=PEOPLE)
        yield started


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    path = browsing.executable()
    expect.set_options(timeout=15_000)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=browsing.ARGS)
        yield chromium
        chromium.close()


Open = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser) -> Iterator[Open]:
    """Open pages that must not complain: no console error, script error or CSP violation."""
    contexts: list[BrowserContext] = []
    watches: list[Watch] = []

    def open_page(base_url: str, allowed: list[str] | None = None, **options: Any) -> Page:
        options.setdefault("viewport", {"width": 1440, "height": 900})
        context = browser.new_context(base_url=base_url, **options)
        context.set_default_timeout(15_000)
        contexts.append(context)
        watch = Watch(context.new_page(), allowed=allowed or [])
        watches.append(watch)
        return watch.page

    yield open_page
    for watch in watches:
        watch.check()
    for context in contexts:
        context.close()


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.goto("/login/")
    page.get_by_label("User name").fill(name)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("/")


@pytest.fixture(scope="package")
def sessions(hub: Hub, browser: Browser) -> dict[str, StorageState]:
    """Cookies of people who signed in through the form."""
    states = {}
    for name in ("ada", "dora", "vera"):
        context = browser.new_context(base_url=hub.url)
        sign_in(context.new_page(), name)
        states[name] = context.storage_state()
        context.close()
    return states


@pytest.fixture
def as_person(hub: Hub, opened: Open, sessions: dict[str, StorageState]) -> Open:
    """Open a page for somebody who is signed in already."""

    def open_page(name: str = "ada", **options: Any) -> Page:
        return opened(hub.url, storage_state=sessions[name], **options)

    return open_page
