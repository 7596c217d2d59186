"""Names and routes in the browser: made, shared by weight, rolled back, removed, and obeyed at once."""

from playwright.sync_api import Page, expect

from tests.e2e.browsing import axe
from tests.e2e.conftest import Open
from tests.servers import Hub


def make(page: Page, name: str, *targets: tuple[str, str]) -> None:
    page.goto("/aliases/new/")
    page.get_by_label("Name", exact=True).fill(name)
    for number, (model, weight) in enumerate(targets, start=1):
        page.get_by_label(f"Model of target {number}").fill(model)
        page.get_by_label(f"Weight of target {number}").fill(weight)
    page.get_by_role("button", name="Make the alias").click()


def served_by(hub: Hub, name: str) -> str:
    body = {"model": name, "messages": [{"role": "user", "content": "hi"}]}
    with hub.client() as client:
        answer = client.post("/chat/completions", json=body).json()
    return str(answer["choices"][0]["message"]["content"])


def test_a_canary_is_started_shifted_and_rolled_back(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    make(page, "team/chat", ("quick", "90"), ("slow", "10"))
    row = page.locator("tr[data-alias='team/chat']")
    expect(row).to_contain_text("quick 90 %")
    expect(row).to_contain_text("slow 10 %")
    page.get_by_role("link", name="team/chat", exact=True).click()
    page.get_by_role("button", name="100 %").click()
    expect(page.get_by_role("status").first).to_contain_text("100 % of the requests")
    expect(page.get_by_role("button", name="100 %")).to_have_attribute("aria-pressed", "true")
    assert served_by(hub, "team/chat").startswith("la")
    assert axe(page) == []

    expect(page.get_by_text("quick 90 %, slow 10 %")).to_be_visible()
    page.goto("/aliases/")
    page.get_by_role("button", name="Roll team/chat back").click()
    dialog = page.get_by_role("dialog", name="Roll team/chat back?")
    expect(dialog).to_contain_text("It leads to quick 90 %, slow 10 % again")
    dialog.get_by_role("button", name="Roll back").click()
    expect(row).to_contain_text("slow 10 %")
    page.get_by_role("button", name="Remove the alias team/chat").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(row).to_have_count(0)


def test_defaults_and_prompt_are_kept_and_an_unchanged_save_changes_no_target(
    hub: Hub, as_person: Open
) -> None:
    page = as_person("ada")
    make(page, "calm", ("quick", ""))
    page.goto("/aliases/edit/calm/")
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_text("Defaults for what a request leaves open").click()
    page.get_by_label("temperature").fill("0.2")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").first).to_contain_text("calm is changed")
    expect(page.get_by_label("System prompt")).to_have_value("Be brief.")
    expect(page.get_by_label("temperature")).to_have_value("0.2")
    expect(page.get_by_role("button", name="Roll back")).to_have_count(0)
    page.goto("/aliases/?q=calm")
    expect(page.locator("tr[data-alias=calm]")).to_contain_text("system prompt")
    page.get_by_role("button", name="Remove the alias calm").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.locator("tr[data-alias=calm]")).to_have_count(0)


def test_it_says_what_is_wrong_and_keeps_what_was_written(hub: Hub, as_person: Open) -> None:
    page = as_person("ada", allowed=["400 (Bad Request)"])
    make(page, "mixed", ("quick", ""), ("vectors", ""))
    expect(page.get_by_role("alert")).to_contain_text("targets of a route are of one kind")
    expect(page.get_by_label("Model of target 2")).to_have_value("vectors")
    page.get_by_label("Model of target 2").fill("")
    page.get_by_label("temperature").fill("hot")
    page.get_by_role("button", name="Make the alias").click()
    expect(page.get_by_role("alert")).to_contain_text("temperature")
    make(page, "quick", ("slow", ""))
    expect(page.get_by_role("alert")).to_contain_text("quick is a model")


def test_a_viewer_reads_names_and_changes_none(hub: Hub, as_person: Open) -> None:
    page = as_person("vera", allowed=["403 (Forbidden)"])
    page.goto("/aliases/")
    expect(page.locator("tr[data-alias=gpt-4o]")).to_contain_text("quick")
    expect(page.locator("#aliases-table button")).to_have_count(0)
    answer = page.goto("/aliases/edit/gpt-4o/")
    assert answer
    assert answer.status == 403


def test_it_finds_by_model_as_one_types_and_offers_targets(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    make(page, "far-from-it", ("lonely", ""))
    expect(page.locator("tr[data-alias=far-from-it]")).to_be_visible()
    page.goto("/aliases/")  # what is typed before the scripts are there is a plain form's
    page.get_by_label("Find by name or model").fill("lonel")
    page.wait_for_url("**/aliases/?q=lonel")
    names = page.locator("#aliases-table tbody .name")
    expect(names).to_have_text(["far-from-it"])
    page.get_by_label("Find by name or model").fill("no such name")
    expect(page.get_by_text("No alias is like that")).to_be_visible()
    page.goto("/aliases/new/")
    page.get_by_label("Model of target 1").press_sequentially("vect")
    expect(page.locator("#models option")).to_have_count(1)
    expect(page.locator("#models option")).to_have_attribute("value", "vectors")
    page.goto("/aliases/")
    page.get_by_role("button", name="Remove the alias far-from-it").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.locator("tr[data-alias=far-from-it]")).to_have_count(0)
