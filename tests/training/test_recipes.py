"""What may be asked of a training job, and what "auto" becomes."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.errors import HubError, InvalidValue, UnknownParameter
from training.recipes import memory, resolve, shapes
from training.recipes.facts import Base, Machine, Rows, cuda_machine
from training.recipes.recipe import Recipe

BASE = Base(
    parameters=134_515_008,
    plain_parameters=28_311_552,
    hidden=576,
    intermediate=1536,
    layers=30,
    kv_width=192,
    vocabulary=49_152,
    context_tokens=8192,
)
ROWS = Rows(rows=20, tokens=1000, longest_tokens=60, supervised_tokens=300)


def _resolved(kind: str, config: dict[str, Any], **machine: Any) -> resolve.Resolved:
    return resolve.resolve(shapes.read(kind, config), BASE, ROWS, Machine(**machine))


@pytest.mark.parametrize(
    ("kind", "config", "expected"),
    [
        (
            "lora",
            {"rank": 16, "alpha": 32, "dropout": 0.1, "target_modules": ["q_proj", "v_proj"]},
            {"rank": 16, "alpha": 32, "dropout": 0.1, "target_modules": ["q_proj", "v_proj"]},
        ),
        (
            "qlora",
            {"quantization": "4bit", "compute_dtype": "bfloat16", "use_nested_quant": True},
            {"quantization": "4bit", "precision": "bfloat16", "nested_quantization": True},
        ),
        (
            "full",
            {"learning_rate": 1e-5, "batch_size": 2, "epochs": 3},
            {"tuner": "full", "learning_rate": 1e-5, "batch_size": 2, "epochs": 3},
        ),
        ("dora", {}, {"dora": True, "tuner": "lora"}),
        ("rslora", {"r": 64}, {"rslora": True, "rank": 64}),
        (
            "continued_pretraining",
            {},
            {"objective": "pretrain", "packing": True, "train_on": "all"},
        ),
        ("dpo", {"beta": 0.3, "tuner": "qlora"}, {"beta": 0.3, "quantization": "4bit"}),
        ("lora", {"lora": {"rank": 8}, "full": {"epochs": 9}}, {"rank": 8, "tuner": "lora"}),
        ("full", {"lora": {"rank": 8}, "full": {"epochs": 9}}, {"epochs": 9, "tuner": "full"}),
        (
            "lora",
            {"n_epochs": 5, "learning_rate_multiplier": 2},
            {"epochs": 5, "learning_rate": 2e-3},
        ),
        ("lora", {"target_modules": "all-linear"}, {"target_modules": []}),
        ("lora", {"epochs": 10, "warmup_ratio": 0.1}, {"warmup_steps": 5}),
    ],
)
def test_it_takes_the_shapes_as_they_are(
    kind: str, config: dict[str, Any], expected: dict[str, Any]
) -> None:
    recipe = _resolved(kind, config).recipe
    assert {name: getattr(recipe, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("kind", "config", "error", "param", "word"),
    [
        ("lorra", {}, InvalidValue, "training_type", "lora"),
        (
            "lora",
            {"lerning_rate": 1},
            UnknownParameter,
            "training_config.lerning_rate",
            "learning_rate",
        ),
        ("full", {"rank": 8}, UnknownParameter, "training_config.rank", "no meaning"),
        ("lora", {"beta": 0.1}, UnknownParameter, "training_config.beta", "no meaning"),
        ("lora", {"lora": {"rnk": 8}}, UnknownParameter, "training_config.lora.rnk", "rank"),
        ("lora", {"lora": 8}, InvalidValue, "training_config.lora", "object"),
        ("lora", {"lora_rank": 0}, InvalidValue, "training_config.lora_rank", ">= 1"),
        ("lora", {"learning_rate": "fast"}, InvalidValue, "training_config.learning_rate", "float"),
        ("lora", {"rank": 8, "r": 8}, InvalidValue, "training_config.r", "same"),
        ("lora", {"seed": -1}, InvalidValue, "training_config.seed", "0"),
        ("qlora", {"quantization": "8bit"}, InvalidValue, "training_config.quantization", "4bit"),
        (
            "lora",
            {"compute_dtype": "float16"},
            InvalidValue,
            "training_config.compute_dtype",
            "bfloat16",
        ),
        (
            "lora",
            {"target_modules": ["../x"]},
            InvalidValue,
            "training_config.target_modules",
            "match",
        ),
        (
            "lora",
            {"learning_rate": 1e-4, "learning_rate_multiplier": 2},
            InvalidValue,
            "training_config.learning_rate_multiplier",
            "exclude",
        ),
    ],
)
def test_it_refuses_by_name(
    kind: str, config: dict[str, Any], error: type[HubError], param: str, word: str
) -> None:
    with pytest.raises(error) as caught:
        _resolved(kind, config)
    assert caught.value.param == param
    assert word in caught.value.message


def test_auto_values_are_numbers_with_reasons() -> None:
    found = _resolved("lora", {"rank": "auto", "epochs": "auto"}, bfloat16=True)
    assert found.recipe.precision == "bfloat16"
    assert found.recipe.epochs == 20
    assert found.steps == 100
    for name in ("rank", "alpha", "epochs", "learning_rate", "batch_size", "max_length"):
        assert found.reasons[name]


def test_the_hubs_defaults_come_before_auto_but_not_where_auto_was_asked_for() -> None:
    defaults = shapes.defaults_of(
        {"learning_rate": 3e-4, "num_epochs": 7, "lora_rank": 4, "seed": 1}
    )
    asked = shapes.read("lora", {"epochs": "auto"})
    found = resolve.resolve(asked, BASE, ROWS, Machine(), defaults)
    assert (found.recipe.learning_rate, found.recipe.rank, found.recipe.epochs) == (3e-4, 4, 20)
    full = resolve.resolve(shapes.read("full", {}), BASE, ROWS, Machine(), defaults)
    assert full.recipe.rank == Recipe().rank


def test_checkpointing_is_turned_on_only_where_memory_is_short() -> None:
    wide = {"batch_size": 64, "max_length": 60}
    plenty = _resolved("lora", wide, memory_bytes=64 * 10**9)
    short = _resolved("lora", wide, memory_bytes=3 * 10**9)
    assert not plenty.recipe.gradient_checkpointing
    assert short.recipe.gradient_checkpointing
    assert "twice" in short.reasons["gradient_checkpointing"]


@given(
    batch=st.integers(1, 64),
    length=st.integers(16, 4096),
    memory_bytes=st.integers(10**9, 20 * 10**9),
    full=st.booleans(),
)
def test_what_is_offered_where_it_does_not_fit_would_fit(
    batch: int, length: int, memory_bytes: int, full: bool
) -> None:
    rows = Rows(rows=100, tokens=length * 100, longest_tokens=length, supervised_tokens=length * 50)
    machine = Machine(memory_bytes=memory_bytes)
    recipe = Recipe(batch_size=batch, max_length=length, tuner="full" if full else "lora")
    for offer in resolve.changes_that_fit(recipe, BASE, rows, machine):
        assert offer["change"]
        assert resolve.fits(offer["need_bytes"], machine)


@given(batch=st.integers(1, 64), length=st.integers(8, 4096))
def test_more_rows_need_more_memory(batch: int, length: int) -> None:
    small, large = Recipe(batch_size=batch), Recipe(batch_size=batch + 1)
    needs = [memory.need(BASE, r, length, length, Machine()).total for r in (small, large)]
    assert needs[0] < needs[1]


@pytest.mark.parametrize(
    ("capability", "precision", "why"),
    [
        ((9, 0), "bfloat16", "computes bfloat16"),
        ((8, 0), "bfloat16", "computes bfloat16"),
        ((7, 5), "float32", "compute capability 7.5, and bfloat16 begins at 8.0"),
        (None, "float32", "nobody could ask this GPU"),
    ],
    ids=["Hopper", "Ampere", "Turing", "unknown"],
)
def test_a_gpu_trains_in_bfloat16_only_where_it_has_units_for_it(
    capability: tuple[int, int] | None, precision: str, why: str
) -> None:
    machine = cuda_machine(capability, 24 * 10**9)
    found = resolve.resolve(shapes.read("lora", {}), BASE, ROWS, machine)
    assert found.recipe.precision == precision
    assert why in found.reasons["precision"]
    tight = msgspec.structs.replace(machine, memory_bytes=found.need.total)
    offers = resolve.changes_that_fit(found.recipe, BASE, ROWS, tight)
    assert not [one for one in offers if "precision" in one["change"]]
