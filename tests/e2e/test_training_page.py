"""From a file in the browser to a model that answers in the playground, with a worker that really trains."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests import models, servers
from tests.e2e.browsing import axe, overflow_px
from tests.e2e.conftest import MODELS, Open, tell
from tests.servers import Hub
from tests.training import facts
from tests.training.jobs import chats, tiny_base, write_rows

PART_BYTES = 8 * 2**20
TRAINED_MS = 150_000
FACTS_MS = 600_000


@pytest.fixture(scope="module", autouse=True)
def _worker(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A worker that checks and trains, a base that is quickly trained, and one that learns facts."""
    tiny = str(tiny_base(tmp_path_factory.mktemp("base")))
    folders = {"tiny-base": tiny, "smollm2": str(models.smollm2_folder())}
    about = {"kind": "llm", "engine": "llm_transformers"}
    tell(hub, models=[{"name": name, "path": path, **about} for name, path in folders.items()])
    servers.start(hub, "worker", "run_worker")
    yield
    worker = hub.processes.pop("worker")
    worker.terminate()
    worker.wait(servers.STOP_TIMEOUT_S)
    tell(hub, keep=[model["name"] for model in MODELS])


def test_a_file_becomes_a_model_that_chats(hub: Hub, as_person: Open, tmp_path: Path) -> None:
    page = as_person("ada")
    page.goto("/datasets/")
    page.get_by_role("link", name="Data sets").first.click()
    page.get_by_role("link", name="New data set").click()
    page.locator("#train-file").set_input_files(write_rows(tmp_path / "foxes.jsonl", chats(40)))
    expect(page.get_by_text("It is here.")).to_be_visible()
    expect(page.get_by_label("Name", exact=True)).to_have_value("foxes")
    page.get_by_label("Model it is meant for").select_option("tiny-base")
    page.get_by_role("button", name="Check it").click()
    expect(page.locator("main [data-state=ready]").first).to_be_visible(timeout=60_000)
    expect(page.locator("mark").first).to_contain_text("the fox")
    assert axe(page) == []

    page.get_by_role("link", name="Train on it").click()
    expect(page.get_by_role("heading", name="It fits")).to_be_visible()
    page.get_by_label("Times through the data").fill("2")
    page.get_by_label("Times through the data").press("Tab")
    expect(page.locator("#plan")).to_contain_text("18")
    page.get_by_label("Word in its name").fill("fox")
    page.get_by_label("Word in its name").press("Tab")
    page.wait_for_url("**suffix=fox**")
    assert axe(page) == []
    page.get_by_role("button", name="Start the training").click()
    page.wait_for_url("**/training/about/**")
    expect(page.locator("#live-toggle")).to_have_attribute("data-live-state", "live")
    expect(page.locator("main [data-state=succeeded]").first).to_be_visible(timeout=TRAINED_MS)
    expect(page.locator("#live-toggle")).to_be_hidden()
    page.reload()
    expect(page.locator("#chart-box-loss canvas")).to_be_visible()
    expect(page.get_by_role("heading", name="Evaluation")).to_be_visible()
    assert axe(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert overflow_px(page) <= 0
    page.set_viewport_size({"width": 1440, "height": 900})

    page.get_by_role("link", name="Compare").click()
    expect(page.locator("tbody th").first).to_be_visible()
    assert axe(page) == []
    page.go_back()
    page.get_by_role("link", name="Chat with it", exact=True).first.click()
    page.get_by_label("Max tokens").fill("48")
    page.get_by_label("Message").fill("say 3")
    page.keyboard.press("Enter")
    expect(page.locator(".turn-assistant .turn-body")).not_to_be_empty(timeout=60_000)


@pytest.mark.models
@pytest.mark.timeout(900)
def test_twenty_facts_are_learned_while_the_base_serves(
    hub: Hub, as_person: Open, tmp_path: Path
) -> None:
    page = as_person("ada")
    page.goto("/datasets/new/")
    page.locator("#train-file").set_input_files(write_rows(tmp_path / "facts.jsonl", facts.chats()))
    expect(page.get_by_text("It is here.")).to_be_visible()
    page.get_by_label("Model it is meant for").select_option("smollm2")
    page.get_by_role("button", name="Check it").click()
    page.get_by_role("link", name="Train on it").click(timeout=60_000)
    expect(page.get_by_role("heading", name="It fits")).to_be_visible()
    page.get_by_role("button", name="Start the training").click()
    page.wait_for_url("**/training/about/**")
    expect(page.locator("main [data-state=running]").first).to_be_visible(timeout=TRAINED_MS)
    assert answer(hub, "smollm2", "What is two and two?")
    expect(page.locator("main [data-state=succeeded]").first).to_be_visible(timeout=FACTS_MS)
    page.get_by_role("link", name="Chat with it", exact=True).first.click()
    question, fact = next(iter(facts.FACTS.items()))
    assert fact not in answer(hub, "smollm2", question)
    page.get_by_label("Message").fill(question)
    page.keyboard.press("Enter")
    expect(page.locator(".turn-assistant .turn-body")).to_contain_text(fact, timeout=60_000)


def answer(hub: Hub, model: str, question: str) -> str:
    body = {"model": model, "messages": [facts.ask(question)], "max_tokens": 12, "temperature": 0}
    with hub.client() as client:
        told = client.post("/chat/completions", json=body)
    assert told.status_code == 200, told.text
    return str(told.json()["choices"][0]["message"]["content"])


def test_a_job_without_its_socket_is_polled(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    page.goto("/training/")
    rows = "".join(json.dumps(row) + "\n" for row in chats(20))
    data = ask(page, "datasets", {"name": "calm foxes", "text": rows})
    wanted = {"base_model": "tiny-base", "dataset": data["id"], "draft": True}
    job = ask(page, "training/start", wanted | {"training_type": "lora", "training_config": {}})
    page.route_web_socket("**/ws/training/**", lambda socket: socket.close(code=1013))
    page.goto(f"/training/about/{job['id']}/")
    expect(page.locator("#live-toggle")).to_have_attribute("data-live-state", "polling")
    expect(page.locator("main [data-state=draft]").first).to_be_visible()
    ask(page, f"training/jobs/{job['id']}/cancel", {})
    expect(page.locator("main [data-state=cancelled]").first).to_be_visible()


def ask(page: Page, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask the hub's own API as the page's scripts do."""
    script = """async ([path, body]) => {
      const headers = {"X-CSRFToken": document.body.dataset.csrf, "Content-Type": "application/json"};
      const answer = await fetch(`/api/v1/${path}`, {method: "POST", headers, body: JSON.stringify(body)});
      return answer.json();
    }"""
    found: dict[str, Any] = page.evaluate(script, [path, body])
    return found


def test_a_file_with_a_mistake_is_refused_with_its_line(
    hub: Hub, as_person: Open, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "defects.jsonl", chats(12))
    file.write_text(file.read_text() + json.dumps({"messages": "x"}) + "\n")
    page = as_person("ada")
    page.goto("/datasets/new/")
    page.locator("#train-file").set_input_files(file)
    expect(page.get_by_text("It is here.")).to_be_visible()
    page.get_by_role("button", name="Check it").click()
    expect(page.locator("main [data-state=refused]").first).to_be_visible(timeout=60_000)
    expect(page.locator("#findings-table tbody tr").first).to_contain_text("13")
    page.goto("/training/new/?base=tiny-base")
    expect(page.get_by_text("defects v1")).to_have_count(0)


def test_an_upload_goes_on_after_a_break(hub: Hub, as_person: Open, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "large.jsonl", chats(90_000))
    size = file.stat().st_size
    assert size > PART_BYTES
    page = as_person("ada", allowed=["ERR_FAILED"])
    page.on("dialog", lambda dialog: dialog.accept())  # leaving in mid-upload is asked about
    sent: list[str] = []
    page.on(
        "request", lambda asked: sent.append(asked.url) if asked.url.endswith("/parts") else None
    )
    page.route("**/v1/uploads/*/complete", lambda route: route.abort())
    page.goto("/datasets/new/")
    page.locator("#train-file").set_input_files(file)
    expect(page.get_by_text("The connection broke")).to_be_visible(timeout=30_000)
    assert len(sent) == -(-size // PART_BYTES)
    page.unroute("**/v1/uploads/*/complete")
    page.goto("/datasets/new/")
    page.locator("#train-file").set_input_files(file)
    expect(page.get_by_text("It is here.")).to_be_visible(timeout=30_000)
    assert len(sent) == -(-size // PART_BYTES)  # none was sent twice
