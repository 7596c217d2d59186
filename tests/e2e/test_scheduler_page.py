"""The scheduler's page: who waits and why, what a load would do, and why a model left."""

import socket

from playwright.sync_api import expect

from inference import wire
from tests.e2e.browsing import axe, missing_icons
from tests.e2e.conftest import Open
from tests.e2e.test_overview import talking
from tests.servers import Hub


def test_it_shows_what_a_load_would_do_and_does_nothing(hub: Hub, as_person: Open) -> None:
    page = as_person("vera")
    page.goto("/scheduler/")
    page.get_by_label("Model", exact=True).select_option("lonely")
    page.get_by_role("button", name="Show the plan").click()
    plan = page.get_by_role("status").filter(has_text="lonely")
    expect(plan).to_contain_text("lonely fits beside what is loaded now.")
    expect(plan).to_contain_text("Free")
    page.goto("/models/about/lonely/")
    expect(page.locator("main [data-state=cold]")).to_be_visible()


def test_it_shows_a_loaded_model_as_loaded(hub: Hub, as_person: Open) -> None:
    page = as_person("vera")
    with talking(hub, "slow"):
        page.goto("/scheduler/?model=slow")
        expect(page.get_by_text("slow is loaded already.")).to_be_visible()
        expect(page.get_by_text("Nothing waits")).to_be_visible()
        assert axe(page) == []


def test_it_tells_a_model_that_is_none(hub: Hub, as_person: Open) -> None:
    page = as_person("vera")
    page.goto("/scheduler/?model=no%20such%20model")
    expect(page.get_by_role("alert")).to_contain_text("That did not work")
    assert axe(page) == []


def test_it_shows_the_memory_of_a_training(hub: Hub, as_person: Open) -> None:
    """Who sees all teams reads its name; others see that there is one."""
    wish = wire.Reserve(id="job-7", label="Tickets", claim_bytes=50_000_000)
    with socket.socket(socket.AF_UNIX) as lease:
        lease.connect(str(hub.data / "node.sock"))
        lease.sendall(wire.encode(wish))
        assert lease.recv(1)
        page = as_person("ada")
        page.goto("/scheduler/")
        trainings = page.get_by_role("table", name="Memory for trainings")
        expect(trainings).to_contain_text("training: Tickets")
        memory = page.get_by_role("table", name="What the memory of cpu is used for")
        expect(memory).to_contain_text("training: Tickets")
        assert axe(page) == []
        assert missing_icons(page) == []
        other = as_person("vera")
        other.goto("/scheduler/")
        expect(other.get_by_text("training: job-7").first).to_be_visible()
        expect(other.get_by_text("Tickets")).to_have_count(0)
    expect(trainings).to_have_count(0)
