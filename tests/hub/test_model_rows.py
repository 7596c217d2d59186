"""The models table shows what matters first, and never more than a page of it."""

import pytest

from hub.dashboard import rows
from inference import wire
from inference.models import Alias, Model


def make(*names: str, **fields: str) -> list[Model]:
    return Model.objects.bulk_create(
        Model(name=name, kind="llm", engine="fake", path="/x", **fields) for name in names
    )


def ready(name: str) -> wire.Snapshot:
    status = wire.ModelStatus(name=name, version="", state="ready", kind="llm", engine="fake")
    return wire.Snapshot(at=0.0, models=[status])


@pytest.mark.django_db
def test_it_shows_one_page_with_what_is_in_use_on_it() -> None:
    make(*(f"model-{number:04}" for number in range(rows.SHOWN + 50)))
    make("zz-failed", state=Model.State.FAILED, state_reason="torn")
    shown = rows.listing(ready("model-0240"))
    assert len(shown) == rows.SHOWN
    states = {row.name: row.state.key for row in shown}
    assert states["model-0240"] == "ready"
    assert states["zz-failed"] == "failed"


@pytest.mark.django_db
def test_it_finds_models_by_alias_once() -> None:
    target, _other = make("llama", "whisper")
    for name in ("gpt-4", "gpt-4o"):
        Alias.objects.create(name=name, target=target)
    (found,) = rows.listing(None, "gpt-4")
    assert found.name == "llama"
    assert found.aliases == ("gpt-4", "gpt-4o")
