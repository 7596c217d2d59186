"""Loading and unloading from the models page; names that attack; sorting and filtering."""

import json
import re

import pytest
from playwright.sync_api import Locator, expect

from tests.e2e.browsing import axe, cut_px, overflow_px
from tests.e2e.conftest import HOSTILE, MODELS, Open, fake, tell
from tests.e2e.test_overview import talking
from tests.servers import Hub


def test_it_loads_and_unloads_with_the_consequence_named(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    page.goto("/models/")
    row = page.locator("tr[data-model=heavy]")
    page.get_by_role("button", name="Load heavy").click()
    expect(row.locator("[data-state=loading]")).to_be_visible()
    expect(row.locator("[data-state=ready]")).to_be_visible()

    page.get_by_role("button", name="Unload heavy").click()
    dialog = page.get_by_role("dialog", name="Unload heavy?")
    expect(dialog).to_contain_text("This frees")
    dialog.get_by_role("button", name="Cancel").click()
    expect(row.locator("[data-state=ready]")).to_be_visible()

    page.get_by_role("button", name="Unload heavy").click()
    dialog.get_by_role("button", name="Unload").click()
    expect(row.locator("[data-state=cold]")).to_be_visible()
    expect(page.locator("#toasts")).to_contain_text("heavy")


def test_it_says_how_many_requests_an_unload_waits_for(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    with talking(hub, "slow"):
        page.goto("/models/")
        expect(page.locator("tr[data-model=slow] [data-state=busy]")).to_be_visible()
        page.get_by_role("button", name="Unload slow").click()
        dialog = page.get_by_role("dialog", name="Unload slow?")
        expect(dialog).to_contain_text("1 running request is finished first.")
        dialog.get_by_role("button", name="Cancel").click()


def test_it_shows_hostile_names_as_text(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto("/models/")
    expect(page.get_by_role("link", name=HOSTILE)).to_be_visible()
    page.get_by_role("link", name=HOSTILE).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    assert page.locator("img[src=x]").count() == 0


def test_it_sorts_and_filters_in_the_address(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    page.goto("/models/")
    names = page.locator("#models-table tbody .name")
    page.get_by_role("link", name="Model", exact=True).click()
    page.wait_for_url("**/models/?sort=name")
    head = page.locator("#models-table th").first
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert names.all_inner_texts() == sorted(names.all_inner_texts(), key=str.lower)
    head.get_by_role("link").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    page.get_by_label("Find by name").fill("vec")
    expect(names).to_have_text(["vectors"])
    page.wait_for_url("**/models/?q=vec&sort=-name")
    page.get_by_label("Find by name").fill("no such name")
    expect(page.get_by_text("No model is like that")).to_be_visible()
    page.get_by_role("link", name="All models").click()
    expect(page.get_by_label("Find by name")).to_have_value("")
    page.wait_for_load_state()  # its scripts listen
    page.get_by_label("Kind", exact=True).select_option("asr")
    expect(names).to_have_text(["ears", "stone-deaf"])
    page.get_by_label("Kind", exact=True).select_option("")
    page.get_by_label("State").get_by_role("link", name="Not loaded").click()
    expect(page.locator("#catalog [aria-current=true]")).to_contain_text("Not loaded")
    expect(page.locator("#models-table [data-state]").first).to_have_attribute("data-state", "cold")


def test_it_says_whether_a_model_fits_and_pins_it(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    page.goto("/models/?q=lonely")
    row = page.locator("tr[data-model=lonely]")
    expect(row).to_contain_text("fits now")
    pin = page.get_by_role("button", name="Keep lonely in memory")
    pin.click()
    expect(pin).to_have_attribute("aria-pressed", "true")
    expect(row).to_contain_text("pinned")
    assert axe(page) == []
    pin.click()
    expect(pin).to_have_attribute("aria-pressed", "false")


def test_a_failed_model_can_be_tried_again_and_removed(hub: Hub, as_person: Open) -> None:
    failed = {"kind": "", "engine": "", "source": "huggingface", "state": "failed"}
    reason = (
        "the model hub https://hub.example does not answer: Connection refused; check that this"
    )
    reason += " machine reaches it, or set AI_HUB_HF_ENDPOINT to another one"
    tell(hub, models=[{"name": "torn", "origin": "a/torn", "state_reason": reason, **failed}])
    page = as_person("ada")
    page.goto("/models/?state=failed")
    row = page.locator("tr[data-model=torn]")
    expect(row).to_contain_text("https://hub.example does not answer (connection refused)")
    expect(row.locator("td").first).to_have_text(re.compile(r"torn\s*The model hub "))
    page.goto("/")
    expect(page.get_by_text("torn failed.")).to_be_visible()
    expect(page.locator("#panel-activity")).not_to_contain_text("torn")
    page.goto("/models/?state=failed")
    page.get_by_role("button", name="Try torn again").click()
    expect(page.locator("#toasts")).to_contain_text("torn is tried again.")
    page.goto("/models/?state=arriving")
    expect(row.locator("[data-state=preparing]")).to_contain_text("queued")
    page.get_by_role("button", name="Stop adding torn").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    page.goto("/models/?state=failed")
    expect(row.locator("[data-state=cancelled]")).to_be_visible()
    page.get_by_role("button", name="Remove torn").click()
    dialog = page.get_by_role("dialog", name="Remove torn?")
    expect(dialog).to_contain_text("Its files stay where they are.")
    dialog.get_by_role("button", name="Remove").click()
    expect(row).to_have_count(0)


def test_a_viewer_sees_models_and_no_acts(hub: Hub, as_person: Open) -> None:
    page = as_person("vera")
    page.goto("/models/")
    expect(page.locator("tr[data-model=quick]")).to_be_visible()
    expect(page.locator("#models-table button")).to_have_count(0)
    for act in ("load", "unload", "pin", "retry", "cancel", "remove"):
        token = page.evaluate("document.body.dataset.csrf")
        answer = page.request.post(f"/models/{act}/quick/", headers={"X-CSRFToken": token})
        assert answer.status == 403, act


def test_it_follows_one_model_on_its_own_page(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    page.goto("/models/about/lonely/")
    expect(page.locator("main [data-state=cold]")).to_be_visible()
    page.get_by_role("button", name="Load lonely").click()
    expect(page.locator("main [data-state=ready]")).to_be_visible()
    expect(page.get_by_text("Loaded in")).to_be_visible()
    other = as_person("ada")
    other.goto("/models/")
    other.get_by_role("button", name="Unload lonely").click()
    other.get_by_role("dialog").get_by_role("button", name="Unload").click()
    expect(page.locator("main [data-state=cold]")).to_be_visible()
    expect(page.get_by_text("The first request loads it")).to_be_visible()


def test_its_page_says_loading_and_not_that_it_is_not_loaded(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    page.goto("/models/about/heavy/")
    page.get_by_role("button", name="Load heavy").click()
    expect(page.locator("main [data-state=loading]")).to_be_visible()
    expect(page.locator("#model-live .empty strong")).to_have_text("Loading")
    expect(page.locator("main [data-state=ready]")).to_be_visible()
    heights = page.locator(".page-actions .btn").evaluate_all(
        "buttons => buttons.map((button) => button.getBoundingClientRect())"
        ".map((box) => [box.top, box.height])"
    )
    assert len(heights) > 2
    assert all(height == heights[0] for height in heights)
    page.get_by_role("button", name="Unload heavy").click()
    page.get_by_role("dialog").get_by_role("button", name="Unload").click()
    expect(page.locator("main [data-state=cold]")).to_be_visible()


def test_its_settings_say_what_they_do_and_hold_at_once(hub: Hub, as_person: Open) -> None:
    page = as_person("ada", allowed=["400 (Bad Request)"])
    page.goto("/models/about/hostile/")
    page.get_by_role("button", name="Load hostile").click()
    expect(
        page.get_by_text("after it has been idle").or_(page.get_by_text("if nobody asks"))
    ).to_be_visible()
    page.get_by_label("Pinned").check()
    page.get_by_label("Priority").fill("7")
    page.get_by_label("Tags").fill("tests, loud")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status").first).to_contain_text("The settings of hostile are kept.")
    expect(page.get_by_text("never: it is pinned")).to_be_visible()
    expect(page.get_by_label("Priority")).to_have_value("7")
    expect(page.get_by_label("Tags")).to_have_value("tests, loud")
    expect(page.locator("#model-live .log")).to_contain_text("ready after")
    expect(page.get_by_text("are measured in use")).to_be_visible()
    assert axe(page) == []

    page.get_by_label("Priority").fill("5000")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("priority must be a number <= 1000")
    expect(page.get_by_label("Priority")).to_have_value("5000")
    page.get_by_label("Priority").fill("much")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("a number is needed, not much")
    page.get_by_label("Priority").fill("")
    page.get_by_label("Pinned").uncheck()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("never: it is pinned")).to_have_count(0)
    page.get_by_label("Number format").select_option("float32")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_label("Number format")).to_have_value("float32")
    page.get_by_label("Number format").select_option("")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_label("Number format")).to_have_value("")


def ask_quick(hub: Hub) -> None:
    body = {"model": "quick", "messages": [{"role": "user", "content": "hi"}]}
    with hub.client() as client:
        assert client.post("/chat/completions", json=body).status_code == 200


def answered(card: Locator) -> int:
    """Sum the requests that the charts draw."""
    return sum(json.loads(card.locator("#course").get_attribute("data-series") or "")["requests"])


def test_its_page_tells_how_it_did_and_goes_on_telling(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    page.goto("/models/about/quick/")
    card = page.get_by_role("region", name="Traffic, last hour")
    expect(card.locator("canvas")).to_have_count(3)
    before = answered(card)
    for _ in range(2):  # the second is asked at once, and as short
        drawn = card.locator("#course").get_attribute("data-series")
        ask_quick(hub)
        expect(card.locator("#course")).not_to_have_attribute("data-series", drawn or "")
    expect(card).to_contain_text("Half had their first token within")
    expect(card.locator("canvas")).to_have_count(3)
    card.get_by_text("Show as a table").click()
    expect(card.get_by_role("table", name="Traffic of the last hour")).to_contain_text(
        "First token, half"
    )
    assert answered(card) == before + 2
    lineage = page.get_by_role("region", name="Lineage")
    expect(lineage).to_contain_text("Also answers to: gpt-4o")
    expect(lineage).to_contain_text("in the last hour")
    assert axe(page) == []


def test_it_shows_the_last_lines_of_an_engine_that_failed(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    page.goto("/models/about/broken/")
    page.get_by_role("button", name="Load broken").click()
    log = page.locator("#model-live .tail")
    expect(log).to_contain_text("the weights are torn")
    assert axe(page) == []
    viewer = as_person("vera")
    viewer.goto("/models/about/broken/")
    expect(viewer.get_by_role("heading", name="Timeline")).to_be_visible()
    expect(viewer.get_by_role("heading", name="What its engine wrote last")).to_have_count(0)


def test_it_finds_a_model_by_a_part_of_any_of_its_names(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    page.goto("/models/")
    page.get_by_label("Find by name").fill("gpt-4")
    page.wait_for_url("**/models/?q=gpt-4")
    expect(page.locator("#models-table tbody .name")).to_have_text(["quick"])


def test_its_actions_are_in_view_at_every_width(hub: Hub, as_person: Open) -> None:
    for language in ("en", "vi-VN"):
        page = as_person("ada", locale=language)
        page.goto("/models/")
        for width in (1440, 1240, 1024, 901, 761, 390):
            page.set_viewport_size({"width": width, "height": 900})
            cut_px = page.locator("#catalog .table-wrap").evaluate(
                "box => box.scrollWidth - box.clientWidth"
            )
            assert cut_px <= 0, (language, width)


@pytest.mark.parametrize("width", [1440, 390])
def test_the_longest_name_breaks_and_pushes_nothing_away(
    hub: Hub, as_person: Open, width: int
) -> None:
    name = "very-long" + "x" * 119
    tell(hub, models=[fake(name)])
    page = as_person("ada", viewport={"width": width, "height": 900})
    for place in (
        "/models/?q=very-long",
        f"/models/about/{name}/",
        "/aliases/",
        "/scheduler/",
        "/",
    ):
        page.goto(place)
        assert overflow_px(page) <= 0, place
    page.goto("/models/?q=very-long")
    assert cut_px(page) <= 0
    tell(hub, keep=[model["name"] for model in MODELS])
