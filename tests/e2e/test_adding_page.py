"""Adding models in the browser: the verdict first, progress after, uploads that survive a break."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect

from tests import servers
from tests.e2e.browsing import axe
from tests.e2e.conftest import MODELS, Open, tell
from tests.inference import tiny_files
from tests.inference.hub_server import Behaviour
from tests.servers import Hub

PART_BYTES = 8 * 2**20


@pytest.fixture(scope="module", autouse=True)
def _worker(hub: Hub) -> Iterator[None]:
    """Files are brought by the worker, which adds the starters too; the other pages know neither."""
    servers.start(hub, "worker", "run_worker")
    yield
    worker = hub.processes.pop("worker")
    worker.terminate()
    worker.wait(servers.STOP_TIMEOUT_S)
    tell(hub, keep=[model["name"] for model in MODELS])


def look(page: Page, **fields: str) -> None:
    for label, value in fields.items():
        page.get_by_label(label.replace("_", " ")).fill(value)
    page.get_by_role("button", name="Look into it").click()


def test_it_judges_before_the_download_and_shows_its_progress(
    hub: Hub, as_person: Open, model_hub: Behaviour
) -> None:
    model_hub.gate = threading.Event()
    page = as_person("ada")
    page.goto("/models/")
    page.get_by_role("link", name="Add a model").click()
    page.get_by_role("searchbox", name="Search the hub").fill("tiny")
    hit = page.get_by_role("row", name="org/tiny")
    expect(hit).to_contain_text("apache-2.0")
    expect(hit).to_contain_text("4.19 MB")
    expect(hit).to_contain_text("fits")
    assert axe(page) == []
    hit.get_by_role("button", name="Look into org/tiny").click()
    expect(page.locator("#preview")).to_contain_text("It fits beside what is loaded now.")
    expect(page.get_by_text("LlamaForCausalLM")).to_be_visible()
    expect(page.get_by_text("3 files, 4.20 MB")).to_be_visible()
    assert axe(page) == []

    page.get_by_label("8 bits").check()
    page.get_by_role("button", name="Download and add").click()
    page.wait_for_url("**/models/about/tiny/")
    expect(page.locator("main [data-state=preparing]")).to_contain_text("downloading")
    expect(page.locator("#model-live progress").first).to_be_visible()
    page.get_by_role("button", name="Stop adding tiny").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(page.locator("main [data-state=cancelled]")).to_be_visible()
    model_hub.gate.set()
    page.get_by_role("button", name="Try tiny again").click()
    expect(page.locator("main [data-state=cold]")).to_be_visible(timeout=30_000)


def test_it_says_what_to_do_about_a_wrong_wish(hub: Hub, as_person: Open) -> None:
    page = as_person("ada", allowed=["400 (Bad Request)"])
    page.goto("/models/add/hub/")
    look(page, Id_on_the_hub="org/none")
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("knows no org/none at this revision; look for a mistake")
    look(page, Id_on_the_hub="org/tiny", Name_here="quick")
    expect(alert).to_contain_text("There is a model named quick already")
    page.goto("/models/add/server/")
    page.get_by_label("Address of its API").fill("http://127.0.0.1:9/v1")
    page.get_by_label("Name of the model there").fill("x")
    page.get_by_role("button", name="Add it").click()
    expect(alert).to_contain_text("AI_HUB_PRIVATE_UPSTREAMS=allow")
    expect(page.get_by_label("Name of the model there")).to_have_value("x")


def test_it_adds_a_folder_where_it_lies(hub: Hub, as_person: Open) -> None:
    folder = tiny_files.folder(hub.data / "import" / "llama-of-mine")
    page = as_person("ada")
    page.goto("/models/add/folder/")
    look(page, Folder_or_GGUF_file=str(folder))
    expect(page.locator("#preview")).to_contain_text("It fits beside what is loaded now.")
    expect(page.get_by_label("Copy the files")).not_to_be_checked()
    page.get_by_role("button", name="Add it").click()
    page.wait_for_url("**/models/about/llama-of-mine/")
    expect(page.locator("main [data-state=cold]")).to_be_visible(timeout=30_000)
    page.get_by_role("link", name="Give it an alias").click()
    expect(page.get_by_label("Model of target 1")).to_have_value("llama-of-mine")


def test_an_upload_goes_on_after_a_break(hub: Hub, as_person: Open, tmp_path: Path) -> None:
    folder = tiny_files.folder(
        tmp_path / "uploaded", vocab_size=(PART_BYTES + 2**20) // tiny_files.WORD_BYTES
    )
    page = as_person("ada", allowed=["ERR_FAILED"])
    page.on("dialog", lambda dialog: dialog.accept())  # leaving in mid-upload is asked about
    page.route("**/api/v1/uploads/*/*/1", lambda route: route.abort())
    choose(page, folder)
    expect(page.locator("#preview")).to_contain_text("It fits beside what is loaded now.")
    expect(page.get_by_label("Name here")).to_have_value("uploaded")
    assert axe(page) == []
    page.get_by_role("button", name="Upload and add").click()
    expect(page.get_by_text("The connection broke")).to_be_visible()

    page.goto("/models/about/uploaded/")
    page.get_by_role("button", name="Stop adding uploaded").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    expect(page.locator("main [data-state=cancelled]")).to_be_visible()
    page.get_by_role("link", name="Go on").click()
    expect(page.get_by_text("An upload has not ended.")).to_be_visible()
    page.unroute("**/api/v1/uploads/*/*/1")
    sent: list[Request] = []
    page.on("request", lambda request: sent.append(request) if request.method == "PUT" else None)
    choose(page, folder)
    expect(page.get_by_text("The upload goes on where it ended.")).to_be_visible()
    page.get_by_role("button", name="Upload and add").click()
    page.wait_for_url("**/models/about/uploaded/")
    parts = {tuple(request.url.split("/")[-2:]) for request in sent}
    (weights,) = (file for file, number in parts if number == "1")
    assert (weights, "0") not in parts
    expect(page.locator("main [data-state=cold]")).to_be_visible(timeout=30_000)


def choose(page: Page, folder: Path) -> None:
    page.goto("/models/add/upload/")
    page.locator("#upload-folder").set_input_files(folder)


def test_it_hashes_without_the_browsers_help(hub: Hub, as_person: Open) -> None:
    """On plain http a browser offers no SHA-256, and a hub in a team's network is often that."""
    page = as_person("ada")
    page.goto("/models/add/upload/")
    compare = """async () => {
      const { sha256, byTheBook } = await import("/static/hub/sha256.js");
      const wrong = [];
      for (const size of [0, 1, 55, 56, 63, 64, 65, 1000, 100000]) {
        const data = new Uint8Array(size).map((_, i) => i * 31 + size).buffer;
        if (await sha256(data) !== byTheBook(data)) wrong.push(size);
      }
      return [wrong, byTheBook(new TextEncoder().encode("abc").buffer)];
    }"""
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert page.evaluate(compare) == [[], known]


def test_a_developer_adds_nothing(hub: Hub, as_person: Open) -> None:
    page = as_person("dora", allowed=["403 (Forbidden)"])
    page.goto("/models/")
    expect(page.get_by_role("link", name="Add a model")).to_have_count(0)
    answer = page.goto("/models/add/hub/")
    assert answer
    assert answer.status == 403
