"""Pages of data sets: rows are brought, their report says what is wrong, and what would be learned."""

import json
from pathlib import Path

import pytest
from django.test import Client
from pytest_django import Settings

from accounts.models import User
from tests.hub.test_words import written
from tests.training.jobs import chats, tiny_base
from training import ingest
from training.datasets import findings
from training.models import DataSetVersion, File

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]


@pytest.fixture(name="browser")
def _browser(client: Client, settings: Settings, tmp_path: Path) -> Client:
    settings.HUB_DATA = tmp_path
    client.force_login(User.objects.create(username="tess", role="trainer"))
    return client


def lines(count: int = 12) -> str:
    return "".join(json.dumps(row) + "\n" for row in chats(count))


def brought(browser: Client, **given: str) -> DataSetVersion:
    """Bring rows through the form, and check them as the worker does."""
    answer = browser.post("/datasets/new/", {"name": "foxes", "held_out": "0"} | given)
    version = DataSetVersion.objects.get()
    assert answer["Location"] == f"/datasets/about/{version.data_set_id}/1/"
    ingest.validate(version.pk)
    version.refresh_from_db()
    return version


def page(browser: Client, address: str) -> str:
    answer = browser.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def test_a_report_tells_the_line_and_what_mends_it(browser: Client) -> None:
    version = brought(browser, text=lines() + '{"messages": [}\n')
    shown = page(browser, f"/datasets/about/{version.data_set_id}/")
    assert "No JSON from byte" in shown
    assert findings.fix("bad_json") in shown
    assert 'data-state="refused"' in shown
    assert "bad_json" in page(browser, f"/datasets/about/{version.data_set_id}/1/?code=bad_json")
    assert 'data-state="refused"' in page(browser, "/datasets/")


def test_it_shows_what_a_model_would_learn(browser: Client, tmp_path: Path) -> None:
    from inference import catalog  # noqa: PLC0415
    from inference.models import Model  # noqa: PLC0415

    folder = str(tiny_base(tmp_path / "base"))
    Model.objects.create(name="base", kind="llm", engine="llm_transformers", path=folder)
    catalog.invalidate()
    version = brought(browser, text=lines(), base="base", max_length="256")
    shown = page(browser, f"/datasets/about/{version.data_set_id}/1/")
    assert "<mark>the fox 0 jumps&lt;|im_end|&gt;</mark>" in shown
    assert "&lt;|im_start|&gt;user" in shown
    assert '<svg class="histogram"' in shown


def test_a_row_is_shown_as_it_came_where_no_model_is_chosen(browser: Client) -> None:
    version = brought(browser, text=lines())
    shown = page(browser, f"/datasets/about/{version.data_set_id}/1/")
    assert "<dt>assistant</dt><dd><mark>the fox 0 jumps</mark></dd>" in shown


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"text": ""}, "Choose a file, or paste the rows."),
        ({"name": " ", "text": "x"}, "A name has 1 to 128 characters"),
        ({"text": "x", "max_length": "many"}, "must be a whole number"),
        ({"file_id": "file-of-others"}, "No such File object"),
    ],
)
def test_a_wrong_wish_leaves_nothing_behind(
    browser: Client, given: dict[str, str], words: str
) -> None:
    answer = browser.post("/datasets/new/", {"name": "foxes", **given})
    assert answer.status_code == 400
    assert words in answer.content.decode()
    assert not DataSetVersion.objects.exists()
    assert not File.objects.exists()


def test_versions_are_added_withdrawn_and_removed(browser: Client) -> None:
    key = brought(browser, text=lines()).data_set_id
    browser.post(f"/datasets/add/{key}/", {"text": lines(14)})
    assert page(browser, f"/datasets/about/{key}/").count('data-state="waiting"') == 2
    browser.post(f"/datasets/withdraw/{key}/1/")
    assert 'data-state="withdrawn"' in page(browser, f"/datasets/about/{key}/1/")
    browser.post(f"/datasets/remove/{key}/")
    assert not DataSetVersion.objects.exists()
    assert browser.get(f"/datasets/about/{key}/").status_code == 404


def test_every_fix_is_translated() -> None:
    known = {source for _context, source in written()}
    assert {fix for _severity, fix in findings.CODES.values()} <= known
