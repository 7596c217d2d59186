"""A LoRA adapter is served under its own name: its answers are those of base and adapter together."""

import shutil
from pathlib import Path

import peft
import pytest
import torch
import transformers
from pytest_django import Settings

from inference import arrivals, catalog, entries
from inference.errors import Conflict, InvalidValue, LoadFailed
from inference.models import Model
from tests.inference.engines import tiny_models

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base and an adapter that changes its answers."""
    folder = tmp_path_factory.mktemp("imports")
    base = tiny_models.make(folder / "base", "llama")
    model = transformers.AutoModelForCausalLM.from_pretrained(base)
    config = peft.LoraConfig(r=4, lora_alpha=32, target_modules=["q_proj", "v_proj"])
    adapted = peft.get_peft_model(model, config)
    torch.manual_seed(3)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    adapted.save_pretrained(str(folder / "adapter"))
    return folder


@pytest.fixture
def base(files: Path, tmp_path: Path, settings: Settings) -> Model:
    settings.HUB_IMPORT_ROOTS = [files]
    settings.HUB_MODELS = tmp_path / "models"
    row = entries.add(entries.Wanted(source="local", name="base", path="base"))
    arrivals.bring(row.pk)
    row.refresh_from_db()
    assert row.state == "available", row.state_reason
    return row


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model(torch.tensor([[1, 2, 3, 4]])).logits
    return found


def test_it_serves_the_base_with_the_adapter(files: Path, base: Model) -> None:
    wanted = entries.Wanted(source="adapter", name="tuned", base="base", path="adapter")
    row = entries.add(wanted)
    arrivals.bring(row.pk)
    row.refresh_from_db()
    assert (row.state, row.engine) == ("available", "llm_transformers"), row.state_reason
    assert row.report["kind"] == "adapter"
    spec = catalog.resolve_now("tuned").spec
    served = transformers.AutoModelForCausalLM.from_pretrained(spec.path)
    plain = transformers.AutoModelForCausalLM.from_pretrained(files / "base")
    before = logits(plain)
    expected = peft.PeftModel.from_pretrained(plain, str(files / "adapter"))
    torch.testing.assert_close(logits(served), logits(expected), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(logits(served), before, atol=0.05), "the adapter changes answers"
    with pytest.raises(Conflict, match="tuned"):
        entries.remove(base, force=True)
    entries.remove(row)
    assert not Path(spec.path).exists()
    assert (files / "adapter").is_dir()


def test_a_trained_adapter_is_registered_where_it_lies(
    files: Path, base: Model, tmp_path: Path
) -> None:
    trained = Path(shutil.copytree(files / "adapter", tmp_path / "job"))
    row = entries.register_adapter("ft:base:1", "base", str(trained))
    arrivals.bring(row.pk)
    assert catalog.resolve_now("ft:base:1").spec.engine == "llm_transformers"


def test_an_adapter_that_does_not_fit_says_so(files: Path, base: Model, tmp_path: Path) -> None:
    other = tiny_models.make(tmp_path / "other", "gpt2")
    Model.objects.filter(pk=base.pk).update(path=str(other))
    row = entries.add(entries.Wanted(source="adapter", name="odd", base="base", path="adapter"))
    arrivals.bring(row.pk)
    row.refresh_from_db()
    assert row.state == "failed"
    assert "does not fit its base" in row.state_reason
    with pytest.raises(LoadFailed, match="does not fit"):
        catalog.resolve_now("odd")


@pytest.mark.usefixtures("base")
def test_an_adapter_is_not_added_as_a_model() -> None:
    with pytest.raises(InvalidValue, match="source `adapter`"):
        entries.add(entries.Wanted(source="local", name="x", path="adapter"))
    with pytest.raises(InvalidValue, match="no adapter_config"):
        entries.add(entries.Wanted(source="adapter", name="x", base="base", path="base"))
