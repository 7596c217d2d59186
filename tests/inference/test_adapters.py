"""A LoRA adapter gets its own name: its base attaches it, or it is merged into a copy where that cannot be."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
import transformers
from pytest_django import Settings
from safetensors.torch import load_file, save_file

from inference import adapter_values, arrivals, attachable, catalog, changes, entries
from inference.engines.lora_file import NotAttachable
from inference.errors import Conflict, InvalidValue, LoadFailed
from inference.models import Model
from inference.node import headers, memory
from tests.inference.engines import tiny_adapters, tiny_models

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base and an adapter that changes its answers."""
    folder = tmp_path_factory.mktemp("imports")
    base = tiny_models.make(folder / "base", "llama")
    tiny_adapters.make(folder / "adapter", base, r=4, target_modules=["q_proj", "v_proj"])
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


def arrived(row: Model) -> Model:
    arrivals.bring(row.pk)
    row.refresh_from_db()
    return row


def added(name: str, **wanted: Any) -> Model:
    fields = {"base": "base", "path": "adapter", **wanted}
    return arrived(entries.add(entries.Wanted(source="adapter", name=name, **fields)))


def test_its_base_attaches_it(base: Model) -> None:
    alone = catalog.resolve_now("base").spec
    row = added("tuned")
    assert (row.state, row.engine) == ("available", "llm_transformers"), row.state_reason
    assert (row.report["kind"], row.report["attached"]) == ("adapter", True)
    found = catalog.resolve_now("tuned")
    assert (found.model, found.base) == ("tuned", "base")
    adapter = found.spec.adapter
    assert adapter is not None
    assert (adapter.name, adapter.version) == ("tuned", row.sha256[:12])
    assert (Path(adapter.path) / "adapter_model.safetensors").is_file()
    plain = catalog.resolve_now("base").spec
    assert found.spec == msgspec.structs.replace(plain, adapter=adapter)
    assert plain.version == alone.version, "nothing is loaded anew"
    assert plain.adapters_bytes == 8 * (row.parameters or 0) > 0
    with pytest.raises(Conflict, match="tuned"):
        entries.remove(base, force=True)
    entries.remove(row)
    assert not Path(adapter.path).exists()


def test_the_plan_of_memory_counts_what_will_be_attached(base: Model) -> None:
    before = catalog.resolve_now("base").spec
    added("tuned")
    after = catalog.resolve_now("base").spec
    shape = headers.read(base.path)
    grown = (
        memory.need(after, shape, cuda=False).bytes - memory.need(before, shape, cuda=False).bytes
    )
    assert grown == after.adapters_bytes > 0


def test_an_adapter_that_is_attached_is_no_model_of_its_own(base: Model) -> None:
    row = added("tuned")
    with pytest.raises(InvalidValue, match="served by its base `base`"):
        changes.change(row, changes.Change(settings={"priority": 3}))
    with pytest.raises(InvalidValue, match="name its base"):
        added("more", base="tuned")
    with pytest.raises(InvalidValue, match="vary that"):
        entries.add(entries.Wanted(source="variant", name="v", of="tuned"))
    Model.objects.filter(pk=base.pk).update(state="failed", state_reason="its disk is gone")
    catalog.invalidate()
    with pytest.raises(LoadFailed, match="its base base: its disk is gone"):
        catalog.resolve_now("tuned")


def test_it_is_merged_where_it_cannot_be_attached(files: Path, base: Model, tmp_path: Path) -> None:
    dora = tiny_adapters.make(files / "dora", files / "base", use_dora=True)
    row = added("dora", path="dora")
    assert (row.state, row.engine) == ("available", "llm_transformers"), row.state_reason
    assert "merged into a copy of base: it uses 'use_dora'" in row.report["warnings"]
    spec = catalog.resolve_now("dora").spec
    assert spec.adapter is None
    served = transformers.AutoModelForCausalLM.from_pretrained(spec.path)
    expected = tiny_adapters.reference(files / "base", dora).model
    torch.testing.assert_close(logits(served), logits(expected), rtol=1e-3, atol=1e-3)
    with pytest.raises(NotAttachable, match="settings of its own"):
        attachable.check(files / "adapter", base, own_settings=True)
    Model.objects.filter(pk=base.pk).update(engine="llm_vllm")
    added("far", settings={"priority": -1})
    far = catalog.resolve_now("far").spec
    assert (far.engine, far.priority, far.adapter) == ("llm_vllm", -1, None)


def test_one_for_a_deeper_base_is_refused(files: Path, base: Model) -> None:
    deep = Path(shutil.copytree(files / "adapter", files / "deep"))
    weights = load_file(deep / "adapter_model.safetensors")
    moved = {name.replace("layers.1.", "layers.9."): one for name, one in weights.items()}
    assert moved.keys() != weights.keys()
    save_file(moved, deep / "adapter_model.safetensors")
    row = added("deep", path="deep")
    assert row.state == "failed"
    assert "does not fit its base, which has no model.layers.9." in row.state_reason


@pytest.mark.parametrize(
    ("value", "kind", "reason"),
    [
        (float("nan"), torch.bfloat16, "holds what is no number"),
        (float("-inf"), torch.float16, "holds what is no number"),
        (float("nan"), torch.float64, "holds what is no number"),
        (-1e30, torch.float32, "holds 1e+30; no more than 65504"),
    ],
)
@pytest.mark.usefixtures("base")
def test_one_with_values_that_nobody_can_compute_with_is_refused(
    files: Path, tmp_path: Path, value: float, kind: torch.dtype, reason: str
) -> None:
    bad = Path(shutil.copytree(files / "adapter", files / tmp_path.name))
    weights = load_file(bad / "adapter_model.safetensors")
    name = sorted(weights)[-1]
    weights = {each: one.to(kind) for each, one in weights.items()}
    weights[name].view(-1)[-1] = value
    save_file(weights, bad / "adapter_model.safetensors")
    row = added("bad", path=bad.name)
    assert row.state == "failed"
    assert row.state_reason.startswith(f"`{name}` of the adapter")
    assert reason in row.state_reason


def test_values_are_read_in_pieces_to_the_last(tmp_path: Path) -> None:
    last = torch.zeros(3 * adapter_values.PIECE_BYTES // 4)
    last[-1] = adapter_values.LARGEST
    file = tmp_path / "a.safetensors"
    save_file({"whole": torch.ones(2, dtype=torch.int64), "last": last, "none": last[:0]}, file)
    adapter_values.check(file)
    last[-1] = float("inf")
    save_file({"whole": torch.ones(2, dtype=torch.int64), "last": last}, file)
    with pytest.raises(InvalidValue, match="`last`"):
        adapter_values.check(file)


def test_vllm_attaches_what_it_was_told_to_make_room_for(files: Path, base: Model) -> None:
    def check(**options: int | str) -> None:
        base.engine, base.settings = "llm_vllm", {"options": options}
        attachable.check(files / "adapter", base, own_settings=False)

    check(max_loras=2)
    with pytest.raises(NotAttachable, match="`max_loras` 0"):
        check()
    wide = tiny_adapters.make(files / "wide", files / "base", r=32)
    base.settings = {"options": {"max_loras": 2}}
    with pytest.raises(NotAttachable, match="its rank is 32, and `max_lora_rank` of its base 16"):
        attachable.check(Path(wide.path), base, own_settings=False)


def test_a_trained_adapter_is_registered_where_it_lies(
    files: Path, base: Model, tmp_path: Path
) -> None:
    trained = Path(shutil.copytree(files / "adapter", tmp_path / "job"))
    arrived(entries.register_adapter("ft:base:1", "base", str(trained)))
    adapter = catalog.resolve_now("ft:base:1").spec.adapter
    assert adapter is not None
    assert adapter.path == str(trained)


@pytest.mark.parametrize("kind", ["gpt2", "mistral"])
def test_an_adapter_that_does_not_fit_says_so(
    files: Path, base: Model, tmp_path: Path, kind: str
) -> None:
    other = tiny_models.make(tmp_path / "other", kind)
    Model.objects.filter(pk=base.pk).update(path=str(other))
    row = added("odd")
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
