"""The verbs of names, models and uploads on whatever database there is; PostgreSQL runs them too."""

import hashlib
from pathlib import Path

import pytest
from pytest_django import Settings

from inference import aliases, catalog, changes, entries, uploads
from inference.errors import InvalidValue
from inference.management import urls
from inference.models import Alias, Model

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]


@pytest.fixture
def rows() -> list[Model]:
    return [
        Model.objects.create(name=name, kind="llm", engine="fake", path=f"/m/{name}")
        for name in ("a", "b")
    ]


@pytest.mark.usefixtures("rows")
def test_a_route_is_made_changed_and_rolled_back() -> None:
    alias = aliases.create("r", aliases.Wanted(targets=[{"model": "a"}]))
    both = [{"model": "a", "weight": 1.0}, {"model": "b", "weight": 3.0}]
    changed = aliases.change(alias, aliases.Wanted(targets=both, sticky=True))
    assert (changed.target.name, changed.targets) == ("b", both)
    assert len(catalog.resolve_now("r").others) == 1
    assert aliases.roll_back(changed).target.name == "a"
    assert catalog.resolve_now("r").others == ()
    aliases.remove(changed)
    assert not Alias.objects.exists()


def test_a_model_changes_and_leaves(rows: list[Model]) -> None:
    aliases.create("r", aliases.Wanted(targets=[{"model": "a"}, {"model": "b"}]))
    before = catalog.resolve_now("a").spec.version
    changes.change(rows[0], changes.Change(settings={"context_tokens": 64}, tags=["small"]))
    spec = catalog.resolve_now("a").spec
    assert (spec.context_tokens, spec.version != before) == (64, True)
    entries.remove(rows[0], force=True)
    assert catalog.resolve_now("r").model == "b"


def test_no_name_hides_behind_a_verb() -> None:
    words = [str(one.pattern).split("/") for one in urls.urlpatterns]
    verbs = {parts[-1] for parts in words if parts[0] == "models" and len(parts) > 1}
    assert verbs - {"<path:name>"} == entries.ACTIONS
    with pytest.raises(InvalidValue, match="cannot end with 'plan'"):
        entries.check_name("my/plan")


@pytest.mark.usefixtures("rows")
def test_it_names_the_engines_that_an_adapter_can_have() -> None:
    with pytest.raises(InvalidValue, match=r"served by fake; .* llm_transformers or llm_vllm"):
        entries.base_of("a")


def test_an_upload_goes_through_its_states(tmp_path: Path, settings: Settings) -> None:
    settings.HUB_MODELS = tmp_path
    file = {"path": "config.json", "size_bytes": 2}
    upload = uploads.begin("up", [file], owner_id=1)
    assert uploads.missing(upload) == [[0]]
    for _ in range(2):
        uploads.put(upload, 0, 0, b"{}", hashlib.sha256(b"{}").hexdigest())
    row = uploads.complete(uploads.find(upload.pk, 1))
    assert (row.state, row.done_bytes) == ("queued", 2)
    assert entries.cancel(row).state == "cancelled"
    assert uploads.begin("up", [file], owner_id=1).model_id == row.pk
    assert uploads.sweep() == 0


@pytest.mark.parametrize("other", ["config.json/more.json", "Config.json", "./config.json"])
def test_no_file_of_an_upload_is_another_or_its_folder(
    tmp_path: Path, settings: Settings, other: str
) -> None:
    settings.HUB_MODELS = tmp_path
    files = [{"path": path, "size_bytes": 2} for path in ("config.json", other)]
    with pytest.raises(InvalidValue, match=r"different files|a file and a folder"):
        uploads.begin("up", files, owner_id=1)
    assert not Model.objects.exists()
