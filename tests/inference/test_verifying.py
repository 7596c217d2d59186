"""Files are hashed again: what changed since they came is told, and the first look only noted."""

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from inference import arrivals, entries, starters, verifying
from inference.errors import Conflict
from inference.models import Model
from tests.inference import tiny_files

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]


@pytest.fixture
def row(settings: Settings, tmp_path: Path) -> Model:
    settings.HUB_IMPORT_ROOTS = [tmp_path]
    settings.HUB_MODELS = tmp_path / "models"
    folder = tiny_files.folder(tmp_path / "tiny")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    row = entries.add(entries.Wanted(source="local", name="tiny", path=str(folder)))
    arrivals.bring(row.pk)
    row.refresh_from_db()
    return row


def test_it_finds_every_difference(row: Model) -> None:
    assert (row.state, row.licence, row.damage) == ("available", "mit", [])
    assert row.checked_at is not None
    assert verifying.verify(row) == []
    folder = Path(row.path)
    config = (folder / "config.json").read_bytes()
    (folder / "config.json").write_bytes(config.replace(b"llama", b"mamba"))
    (folder / "README.md").unlink()
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"x")
    (folder / "special.json").write_bytes(b"{}")
    assert sorted(verifying.verify(row)) == [
        "README.md is missing",
        "config.json has another content than when it came",
        f"model.safetensors has {len(tiny_files.safetensors()) + 1} bytes, "
        f"not {len(tiny_files.safetensors())}",
        "special.json was not there when it came",
    ]
    row.refresh_from_db()
    assert len(row.damage) == 4


def test_a_model_from_before_is_noted_and_then_compared(row: Model) -> None:
    Model.objects.filter(pk=row.pk).update(report={})
    row.refresh_from_db()
    assert verifying.verify(row) == []
    row.refresh_from_db()
    (Path(row.path) / "config.json").unlink()
    assert verifying.verify(row) == ["config.json is missing"]


def test_a_starter_is_compared_with_what_it_is_pinned_to(settings: Settings, row: Model) -> None:
    starter = starters.by_name("smollm2-135m-instruct")
    assert starter is not None
    folder = starter.folder(Path(settings.HUB_MODELS))
    folder.mkdir(parents=True)
    for file in starter.files:
        (folder / file.name).write_bytes(b"torn")
    made = Model.objects.create(name=starter.name, source="starter", path=str(folder))
    sizes = {file.name: file.size_bytes for file in starter.files}
    wanted = [f"{name} has 4 bytes, not {size}" for name, size in sizes.items()]
    assert verifying.verify(made) == wanted


def test_what_has_no_files_here_is_refused(row: Model) -> None:
    remote = Model(name="far", source="remote", state="available")
    with pytest.raises(Conflict, match="another server"):
        verifying.verify(remote)
    with pytest.raises(Conflict, match="not here yet"):
        verifying.verify(Model(name="late", source="upload", state="uploading"))


def test_the_command_says_which_and_fails_for_damage(row: Model) -> None:
    said = StringIO()
    call_command("verify_models", stdout=said)
    assert said.getvalue() == "tiny: as it came\n"
    (Path(row.path) / "config.json").unlink()
    with pytest.raises(CommandError, match=r"Damaged: tiny\."):
        call_command("verify_models", "tiny", stdout=said)
    assert "config.json is missing" in said.getvalue()
    with pytest.raises(CommandError, match="ghost"):
        call_command("verify_models", "ghost")
