"""The shapes that a training config may have, read into fields of a recipe. Pure.

Accepted: the documentation's (`{"rank": 16, "alpha": 32}`, flat or under `lora`, `qlora`, `full`), the names
of the usual libraries (`r`, `num_train_epochs` ...) and OpenAI's (`n_epochs`, `learning_rate_multiplier`).
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from inference.errors import InvalidValue, UnknownParameter

AUTO = "auto"
# What `training_type` may be -> objective, tuner, and what else it fixes.
TYPES: dict[str, dict[str, Any]] = {
    "lora": {},
    "qlora": {"quantization": "4bit"},
    "full": {"tuner": "full"},
    "dora": {"dora": True},
    "rslora": {"rslora": True},
    "pretrain": {"objective": "pretrain"},
    "dpo": {"objective": "dpo"},
}
ALIASES = {
    "full_finetuning": "full",
    "full_fine_tuning": "full",
    "full_finetune": "full",
    "continued_pretraining": "pretrain",
    "supervised": "lora",
    "sft": "lora",
}
SECTIONS = ("lora", "qlora", "full")
SYNONYMS = {
    "r": "rank",
    "lora_rank": "rank",
    "lora_r": "rank",
    "lora_alpha": "alpha",
    "lora_dropout": "dropout",
    "use_dora": "dora",
    "use_rslora": "rslora",
    "use_nested_quant": "nested_quantization",
    "bnb_4bit_use_double_quant": "nested_quantization",
    "compute_dtype": "precision",
    "bnb_4bit_compute_dtype": "precision",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation",
    "max_seq_length": "max_length",
    "lr_scheduler": "schedule",
    "lr_scheduler_type": "schedule",
    "save_steps": "save_every_steps",
    "eval_steps": "eval_every_steps",
    "save_total_limit": "keep_checkpoints",
}
ADAPTER = frozenset({"rank", "alpha", "dropout", "target_modules", "dora", "rslora"})
QUANTIZED = frozenset({"quantization", "nested_quantization"})
COMMON = frozenset(
    {"precision", "learning_rate", "schedule", "warmup_steps", "weight_decay", "max_grad_norm"}
    | {"adam_beta1", "adam_beta2", "adam_epsilon", "epochs", "max_steps", "batch_size"}
    | {"gradient_accumulation", "max_length", "packing", "group_by_length", "train_on"}
    | {"gradient_checkpointing", "save_every_steps", "eval_every_steps", "keep_checkpoints"}
)
# Not fields of a recipe, but turned into them.
MORE = frozenset({"seed", "tuner", "warmup_ratio", "learning_rate_multiplier"})
MAX_SEED = 2**31 - 1
DTYPES = {
    "float32": "float32",
    "fp32": "float32",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "torch.bfloat16": "bfloat16",
    "torch.float32": "float32",
}


@dataclass(slots=True)
class Asked:
    """`fields` are a recipe's, as given; what is not there is to be resolved."""

    training_type: str
    fields: dict[str, Any] = field(default_factory=dict)
    seed: int | None = None
    warmup_ratio: float | None = None
    learning_rate_multiplier: float | None = None
    given: dict[str, str] = field(default_factory=dict)  # field -> the name it was given by
    auto: set[str] = field(default_factory=set)  # fields that were asked to be resolved


def read(
    training_type: str, config: Mapping[str, Any] | None, where: str = "training_config"
) -> Asked:
    """Raises: InvalidValue, UnknownParameter, naming the key under `where`."""
    kind = ALIASES.get(training_type, training_type)
    if kind not in TYPES:
        known = ", ".join(sorted(TYPES))
        raise InvalidValue(
            f"training_type {_shown(training_type)} is not known; it is one of {known}",
            param="training_type",
        )
    asked = Asked(kind, dict(TYPES[kind]))
    sections = {name: value for name, value in (config or {}).items() if name in SECTIONS}
    flat = {name: value for name, value in (config or {}).items() if name not in SECTIONS}
    _take_tuner(asked, flat, where)
    for name, section in sections.items():
        _take_section(asked, name, section, f"{where}.{name}")
    _take(asked, flat, where)
    _refuse_contradictions(asked, where)
    return asked


def defaults_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give the hub's own `training_config` in the names of a recipe's fields."""
    named = {SYNONYMS.get(name, name): value for name, value in config.items()}
    return {name: value for name, value in named.items() if name in COMMON | ADAPTER}


def _take_tuner(asked: Asked, flat: dict[str, Any], where: str) -> None:
    """DPO and continued pre-training tune by LoRA unless another way is named."""
    tuner = flat.pop("tuner", None)
    if tuner is None or tuner == AUTO:
        return
    if tuner not in SECTIONS or asked.training_type not in {"dpo", "pretrain"}:
        raise InvalidValue(
            f"{where}.tuner is lora, qlora or full, for the types dpo and pretrain",
            param=f"{where}.tuner",
        )
    asked.fields |= TYPES[tuner]


def _take_section(asked: Asked, name: str, section: Any, where: str) -> None:
    """All are checked, the one that fits the job is used."""
    if not isinstance(section, Mapping):
        raise InvalidValue(f"{where} is an object", param=where)
    mine = Asked(name, dict(TYPES[name]))
    _take(mine, dict(section), where)
    tuner, four_bit = asked.fields.get("tuner", "lora"), "quantization" in asked.fields
    if name == ("full" if tuner == "full" else "qlora" if four_bit else "lora"):
        asked.fields |= mine.fields
        asked.given |= mine.given
        asked.auto |= mine.auto
        asked.seed = mine.seed if asked.seed is None else asked.seed


def _take(asked: Asked, given: Mapping[str, Any], where: str) -> None:
    known = allowed(asked)
    for name, value in given.items():
        target = SYNONYMS.get(name, name)
        if target not in known:
            raise UnknownParameter(_unknown(name, target, known, where), param=f"{where}.{name}")
        if target in asked.given:
            raise InvalidValue(
                f"{where}.{name} and {asked.given[target]} say the same; give one",
                param=f"{where}.{name}",
            )
        if value is None or value == AUTO:
            asked.auto.add(target)
            continue
        _set(asked, target, value, f"{where}.{name}")
        asked.given[target] = name


def allowed(asked: Asked) -> frozenset[str]:
    names = COMMON | MORE
    if asked.fields.get("tuner") != "full":
        names |= ADAPTER | QUANTIZED
    if asked.fields.get("objective") == "dpo":
        names |= {"beta"}
    return names


def _unknown(name: str, target: str, known: frozenset[str], where: str) -> str:
    if target in ADAPTER | QUANTIZED | {"beta"}:
        return f"{where}.{name} has no meaning for this training type"
    names = [*known, *(old for old, new in SYNONYMS.items() if new in known), *SECTIONS]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{where} knows no {_shown(name)}{hint}"


def _set(asked: Asked, target: str, value: Any, where: str) -> None:
    if target == "seed":
        asked.seed = int(_number(value, where, 0, MAX_SEED, whole=True))
    elif target == "warmup_ratio":
        asked.warmup_ratio = _number(value, where, 0, 1)
    elif target == "learning_rate_multiplier":
        asked.learning_rate_multiplier = _number(value, where, 1e-6, 1000)
    else:
        asked.fields[target] = READERS.get(target, _same)(value, where)


def _same(value: Any, _where: str) -> Any:
    return value


def _number(value: Any, where: str, least: float, most: float, whole: bool = False) -> float:
    right = isinstance(value, int) if whole else isinstance(value, int | float)
    if not right or isinstance(value, bool) or not least <= value <= most:
        kind = "a whole number" if whole else "a number"
        raise InvalidValue(f"{where} is {kind} from {least:g} to {most:g}", param=where)
    return float(value)


def _modules(value: Any, where: str) -> list[str]:
    """A name, names, or `all-linear`."""
    if value == "all-linear":
        return []
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise InvalidValue(f'{where} is a list of names of modules, or "all-linear"', param=where)
    return names


def _quantization(value: Any, where: str) -> str:
    known = {"4bit": "4bit", "nf4": "4bit", "4": "4bit", "none": "none"}
    if str(value) not in known:
        raise InvalidValue(f'{where} is "4bit" or "none"', param=where)
    return known[str(value)]


def _precision(value: Any, where: str) -> str:
    if str(value) not in DTYPES:
        raise InvalidValue(f'{where} is "float32" or "bfloat16"', param=where)
    return DTYPES[str(value)]


READERS: dict[str, Callable[[Any, str], Any]] = {
    "target_modules": _modules,
    "quantization": _quantization,
    "precision": _precision,
}


def _refuse_contradictions(asked: Asked, where: str) -> None:
    if asked.training_type == "qlora" and asked.fields["quantization"] != "4bit":
        raise InvalidValue(
            f'{where}.quantization is "4bit" for qlora; without it, choose lora',
            param=f"{where}.quantization",
        )
    for one, other in (
        ("learning_rate_multiplier", "learning_rate"),
        ("warmup_ratio", "warmup_steps"),
    ):
        if getattr(asked, one, None) is not None and other in asked.given:
            raise InvalidValue(
                f"{where}.{one} and {other} exclude each other", param=f"{where}.{one}"
            )


def _shown(value: object) -> str:
    return ascii(value)[:80]
