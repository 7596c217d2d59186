"""Every page: both themes, three widths, two languages, the keyboard alone, and axe-core."""

from playwright.sync_api import Page, expect

from hub import env
from tests.e2e.browsing import axe, cut_px, missing_icons, overflow_px
from tests.e2e.conftest import Open, tell
from tests.servers import Hub

PAGES = [
    "/",
    "/models/",
    "/models/about/quick/",
    "/models/add/hub/",
    "/models/add/folder/",
    "/models/add/upload/",
    "/models/add/server/",
    "/aliases/",
    "/aliases/new/",
    "/aliases/edit/gpt-4o/",
    "/training/",
    "/training/new/",
    "/evaluations/",
    "/datasets/",
    "/datasets/new/",
    "/playground/",
    "/playground/#transcription",
    "/playground/#embeddings",
    "/files/",
    "/keys/",
    "/keys/new/",
    "/audit/",
    "/usage/",
    "/usage/prices/",
    "/limits/",
    "/limits/of/model/quick/",
    "/account/",
    "/account/app/",
    "/access/people/",
    "/access/people/new/",
    "/access/people/about/dora/",
    "/access/teams/",
    "/access/teams/new/",
    "/access/teams/about/default/",
    "/access/roles/",
    "/access/roles/new/",
    "/access/accounts/",
    "/access/accounts/new/",
    "/access/browsers/",
    "/access/sign-in/",
    "/access/sign-in/new/",
    "/apps/",
    "/apps/new/",
    "/system/",
    "/welcome/",
    "/there-is-no-such-page/",
]
WIDTHS = (1440, 1024, 390)


def settle(page: Page) -> None:
    if page.locator("#live-word").count():
        expect(page.locator("#live-toggle")).to_have_attribute("data-live-state", "live")


def visit(page: Page, path: str) -> None:
    """Open a page afresh, also where only its fragment differs."""
    page.goto("about:blank")
    page.goto(path)
    settle(page)


def test_it_is_accessible_in_both_themes_and_fits_every_width(hub: Hub, as_person: Open) -> None:
    ways = {"color_scheme": "light", "reduced_motion": "reduce"}
    page = as_person("ada", allowed=["404 (Not Found)"], **ways)
    for path in PAGES:
        page.set_viewport_size({"width": 1440, "height": 900})
        visit(page, path)
        expect(page.locator("html")).to_have_attribute("data-bs-theme", "light")
        assert axe(page) == [], path
        assert missing_icons(page) == [], path
        assert page.locator("h1").count() == 1, path
        page.emulate_media(color_scheme="dark")
        expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
        assert axe(page, ["color-contrast"]) == [], path
        page.emulate_media(color_scheme="light")
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert overflow_px(page) <= 0, (path, width)


def test_it_speaks_vietnamese(hub: Hub, as_person: Open) -> None:
    page = as_person("ada", allowed=["404 (Not Found)"], locale="vi-VN")
    for path in PAGES:
        page.goto("about:blank")
        page.goto(path)
        expect(page.locator("html")).to_have_attribute("lang", "vi")
        page.set_viewport_size({"width": 390, "height": 844})
        assert overflow_px(page) <= 0, path
        page.set_viewport_size({"width": 1440, "height": 900})
    page.goto("/")
    expect(page.locator("#live-word")).to_have_text("Trực tiếp")
    expect(page.get_by_role("heading", name="Bản đồ bộ nhớ")).to_be_visible()


def test_no_table_is_cut_on_a_tablet(hub: Hub, as_person: Open) -> None:
    tell(hub, key=["ada", "models:read", "inference", "models:write", "keys:manage", "status:read"])
    page = as_person("ada", locale="vi-VN", viewport={"width": 1024, "height": 768})
    for path in ("/", "/models/", "/keys/", "/system/"):
        visit(page, path)
        assert page.locator("table").count(), path
        assert cut_px(page) == 0, path


def test_it_remembers_theme_and_language(hub: Hub, as_person: Open) -> None:
    page = as_person("ada", color_scheme="light")
    page.goto("/models/")
    page.get_by_label("Theme").click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")
    page.get_by_label("Language").click()
    page.get_by_role("button", name="Tiếng Việt").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("mô hình, ")
    page.goto("/system/")
    expect(page.locator("html")).to_have_attribute("lang", "vi")
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")


def test_the_system_page_shows_every_setting_and_no_secret(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    page.goto("/system/")
    rows = page.locator("#settings-table tbody tr")
    shown = {name.strip() for name in rows.locator("code").all_inner_texts()}
    assert shown == set(env.in_effect)
    expect(rows.filter(has_text="AI_HUB_PORT")).to_contain_text(str(hub.port))
    expect(rows.filter(has_text="AI_HUB_SECRET_KEY")).to_contain_text("hidden")
    secrets = list((hub.data / "secrets").iterdir())
    assert secrets
    assert not any(file.read_text().strip() in page.content() for file in secrets)
    viewer = as_person("vera")
    viewer.goto("/system/")
    expect(viewer.get_by_role("heading", name="Versions")).to_be_visible()
    expect(viewer.locator("#settings-table")).to_have_count(0)


def test_it_works_by_keyboard_alone(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()

    page.keyboard.press("Control+k")
    expect(page.get_by_role("combobox")).to_be_focused()
    page.keyboard.type("playgr")
    page.keyboard.press("Enter")
    page.wait_for_url("**/playground/")

    tab = page.get_by_role("tab", name="Chat")
    tab.focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Transcription")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.locator("#chat-model").focus()
    page.keyboard.type("quick")
    page.get_by_label("Message").focus()
    page.keyboard.type("hello")
    page.keyboard.press("Enter")
    expect(page.locator(".turn-assistant .turn-body")).not_to_be_empty()

    page.goto("/models/")
    page.get_by_role("button", name="Load vectors").focus()
    page.keyboard.press("Enter")
    expect(page.locator("tr[data-model=vectors] [data-state=ready]")).to_be_visible()
    page.get_by_role("button", name="Unload vectors").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Unload vectors")).to_be_focused()


def test_it_shows_where_the_focus_is(hub: Hub, as_person: Open) -> None:
    page = as_person("ada")
    page.goto("/keys/")
    for _ in range(12):
        page.keyboard.press("Tab")
        outline = page.evaluate(
            "(() => { const s = getComputedStyle(document.activeElement);"
            " return [s.outlineStyle, parseFloat(s.outlineWidth)]; })()"
        )
        assert outline[0] != "none", outline
        assert outline[1] >= 2, outline
