"""Settings that a model is added with: what it cannot have, and what of them stays when it is added again."""

from pathlib import Path

import pytest
from pytest_django import Settings

from inference import arrivals, changes, entries
from inference.errors import InvalidValue
from inference.models import Model
from tests.inference import tiny_files

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]


@pytest.fixture
def folder(tmp_path: Path, settings: Settings) -> Path:
    settings.HUB_IMPORT_ROOTS = [tmp_path]
    settings.HUB_MODELS = tmp_path / "models"
    return tiny_files.folder(tmp_path / "m")  # a context of 64 tokens


def brought(folder: Path, **settings: object) -> Model:
    wanted = entries.Wanted(source="local", name="m", path=str(folder), settings=settings)
    row = entries.add(wanted)
    arrivals.bring(row.pk)
    row.refresh_from_db()
    return row


def test_settings_that_failed_it_are_gone_when_it_is_added_without(folder: Path) -> None:
    failed = brought(folder, context_tokens=128)
    assert failed.state == Model.State.FAILED
    assert failed.state_reason == "the model has a context of 64 tokens"
    again = brought(folder)
    assert (again.pk, again.state, again.settings) == (failed.pk, Model.State.AVAILABLE, {})


def test_a_variant_has_no_more_context_than_the_model(folder: Path) -> None:
    brought(folder)
    wanted = {"source": "variant", "name": "v", "of": "m"}
    with pytest.raises(InvalidValue, match="a context of 64 tokens"):
        entries.add(entries.Wanted(**wanted, settings={"context_tokens": 65}))  # type: ignore[arg-type]
    row = entries.add(entries.Wanted(**wanted, settings={"context_tokens": 64}))  # type: ignore[arg-type]
    assert changes.change(row, changes.Change(settings={"pinned": True})).settings["pinned"]
