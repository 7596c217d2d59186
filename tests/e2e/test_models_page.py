"""Loading and unloading from the models page; names that attack; sorting and filtering."""

from playwright.sync_api import expect

from tests.e2e.conftest import HOSTILE, Open
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


def test_it_sorts_and_filters(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    page.goto("/models/")
    names = page.locator("#models-table tbody .name")
    head = page.locator("#models-table th").first
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    assert names.all_inner_texts() == sorted(names.all_inner_texts())
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    assert names.all_inner_texts() == sorted(names.all_inner_texts(), reverse=True)
    page.get_by_label("Filter the table").fill("vec")
    expect(page.locator("#models-table tbody tr:visible")).to_have_count(1)
    page.get_by_label("Filter the table").fill("no such name")
    expect(page.get_by_text("Nothing matches.")).to_be_visible()
    page.get_by_role("button", name="Clear the filter").click()
    expect(page.locator("#models-table tbody tr:visible").nth(1)).to_be_visible()
    expect(page.get_by_text("Nothing matches.")).to_be_hidden()


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
    expect(page.get_by_text("The first request loads it.")).to_be_visible()


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
    assert len(heights) == 2
    assert heights[0] == heights[1]
    page.get_by_role("button", name="Unload heavy").click()
    page.get_by_role("dialog").get_by_role("button", name="Unload").click()
    expect(page.locator("main [data-state=cold]")).to_be_visible()


def test_it_finds_a_model_by_a_part_of_any_of_its_names(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    page.goto("/models/")
    page.get_by_label("Filter the table").fill("gpt-4")
    page.keyboard.press("Enter")
    page.wait_for_url("**/models/?q=gpt-4")
    expect(page.locator("#models-table tbody .name")).to_have_text(["quick"])
    page.get_by_label("Filter the table").fill("no such name")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No model has this name")).to_be_visible()


def test_its_actions_are_in_view_at_every_width(hub: Hub, as_person: Open) -> None:
    for language in ("en", "vi-VN"):
        page = as_person("ada", locale=language)
        page.goto("/models/")
        for width in (1440, 1240, 1024, 901, 761, 390):
            page.set_viewport_size({"width": width, "height": 900})
            cut_px = page.locator("#panel-models .table-wrap").evaluate(
                "box => box.scrollWidth - box.clientWidth"
            )
            assert cut_px <= 0, (language, width)
