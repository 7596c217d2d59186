"""The settings of a model as a form: none is left out, and what is written is what is kept."""

import pytest
from django.conf import settings
from pytest_django import Settings as HubSettings

from hub.dashboard import model_form, setting_words
from inference import changes, entries, wire
from inference.errors import Conflict, InvalidValue
from inference.model_settings import OPTIONS, Settings
from inference.models import Model

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]
DEVICES = [
    wire.DeviceInfo(name=name, label="", total_bytes=1, limit_bytes=1, used_bytes=0)
    for name in ("cpu", "cuda:0")
]


def row(**fields: object) -> Model:
    given = {"name": "m", "kind": "llm", "engine": "llm_transformers", "path": "/m", **fields}
    return Model(**given)


@pytest.mark.parametrize("engine", [*OPTIONS, "fake"])
def test_every_setting_and_option_has_a_field_with_its_effect(engine: str) -> None:
    names = {field.name for field in model_form.fields(engine)}
    options = OPTIONS.get(engine)
    wanted = {*Settings.__struct_fields__} - {"pinned", "options"}
    wanted |= {f"options.{name}" for name in (options.__struct_fields__ if options else ())}
    assert names == wanted
    assert all(setting_words.OF[name].effect for name in names)


def test_what_no_gpu_has_shown_says_so() -> None:
    for name in ("quantization", "attention", "torch_compile"):
        effect = str(setting_words.OF[f"options.{name}"].effect)
        assert effect.endswith("not measured on a GPU by us yet.")


def test_what_fewer_bits_cost_is_told_by_the_published_figures() -> None:
    effect = str(setting_words.OF["options.quantization"].effect)
    assert "SmolLM2-135M" in effect
    lines = (settings.BASE_DIR / "docs" / "performance.md").read_text().splitlines()
    for what in ("int8: weights, MB", "int8: perplexity", "nf4: weights, MB", "nf4: perplexity"):
        (row,) = (line for line in lines if line.startswith(f"| {what} |"))
        assert row.split("|")[4].strip() in effect


def test_what_is_kept_is_what_stands_there() -> None:
    kept = {
        "pinned": True,
        "priority": 3,
        "idle_unload_s": 0.5,
        "options": {"quantization": "nf4", "torch_compile": False},
    }
    lines = {line.field.name: line for line in model_form.lines(row(settings=kept), DEVICES)}
    written = {name: line.value for name, line in lines.items()} | {"pinned": "yes"}
    assert written["options.torch_compile"] == "no"
    assert lines["options.quantization"].choices == ("none", "int8", "nf4")
    assert lines["device"].choices == ("auto", "cpu", "cuda:0", "cuda")
    again = model_form.patch("llm_transformers", written)
    options = {name: value for name, value in again.pop("options").items() if value is not None}
    assert {name: value for name, value in again.items() if value is not None} | {
        "options": options
    } == kept


def test_a_wrong_number_is_named() -> None:
    with pytest.raises(InvalidValue, match="Priority: a number is needed, not much"):
        model_form.patch("fake", {"priority": "much"})


def test_tags_are_words_with_commas() -> None:
    assert model_form.tags(" a, b ,,a") == ["a", "b"]
    with pytest.raises(InvalidValue):
        model_form.tags("x" * 65)


def test_vllm_is_refused_where_no_python_of_it_is_named(settings: HubSettings) -> None:
    settings.HUB_VLLM_PYTHON = ""
    model = row()
    model.save()
    with pytest.raises(InvalidValue, match="AI_HUB_VLLM_PYTHON") as refused:
        changes.change(model, changes.Change(engine="llm_vllm"))
    assert refused.value.param == "engine"
    model.refresh_from_db()
    assert model.engine == "llm_transformers"


def test_another_engine_takes_its_own_options(settings: HubSettings) -> None:
    settings.HUB_VLLM_PYTHON = "/opt/vllm/bin/python"
    options = {"priority": 2, "options": {"quantization": "nf4"}}
    model = row(settings=options)
    model.save()
    changed = changes.change(model, changes.Change(engine="llm_vllm"))
    assert (changed.engine, changed.settings) == ("llm_vllm", {"priority": 2})
    with pytest.raises(InvalidValue, match="can be served by llm_transformers, llm_vllm"):
        changes.change(changed, changes.Change(engine="llm_gguf"))
    starter = row(name="s", source="starter")
    starter.save()
    with pytest.raises(Conflict, match="add a variant"):
        changes.change(starter, changes.Change(engine="llm_vllm"))
    row(name="a", base=changed).save()
    with pytest.raises(Conflict, match="adapters"):
        changes.change(changed, changes.Change(engine="llm_transformers"))
    assert entries.ENGINES.keys() == {"llm_transformers", "llm_vllm"}
