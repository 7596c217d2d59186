"""What a LoRA adapter's folder says, read without torch: which modules it changes, and by what scale.

Only what can be added to a running base row by row is told as such; the rest has to be merged. Used by
`lora` when an adapter is attached, and by `inference.attachable` when one arrives.
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.plain_files import open_plain

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MAX_CONFIG_BYTES = 2**20
MAX_RANK = 1024
MAX_ALPHA = 1e6
PREFIX = "base_model.model."  # Source: peft's state dicts of a model with a LoRA tuner
NAME = re.compile(re.escape(PREFIX) + r"([A-Za-z0-9_.]+)\.lora_([AB])\.weight")
PLAIN = re.compile(r"[A-Za-z0-9_.]+")  # of peft's patterns, those that are no regular expressions
HEADS = frozenset({"lm_head", "embed_out"})  # they see only the tokens that are asked for
# What changes nothing about how an adapter is computed once it is trained.
HARMLESS = frozenset(
    {"task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"}
    | {"inference_mode", "r", "target_modules", "exclude_modules", "lora_alpha", "lora_dropout"}
    | {"fan_in_fan_out", "use_rslora", "layers_to_transform", "layers_pattern", "rank_pattern"}
    | {"alpha_pattern", "megatron_core", "qalora_group_size", "runtime_config", "bias"}
    | {"init_lora_weights", "ensure_weight_tying"}
)  # fmt: skip
PLAIN_STARTS = (True, False, "gaussian")  # others change the base's own weights at the start


class NotAttachable(Exception):
    """This adapter cannot be computed beside its base; the message says why."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How strongly each module is changed."""

    alpha: float
    alphas: dict[str, float]  # by the end of a module's name
    rank_stabilised: bool

    def scale(self, module: str, rank: int) -> float:
        ends = (a for end, a in self.alphas.items() if f".{module}".endswith(f".{end}"))
        alpha = next(ends, self.alpha)
        return alpha / math.sqrt(rank) if self.rank_stabilised else alpha / rank


@dataclass(slots=True)
class Pair:
    """The names of one module's two matrices, A (rank, inputs) and B (outputs, rank)."""

    a: str = ""
    b: str = ""


def rules(folder: Path) -> Rules:
    """Raises: NotAttachable."""
    config = _config(folder / CONFIG)
    if config.get("peft_type") != "LORA":
        raise NotAttachable(f"only LoRA adapters are served, not {_shown(config.get('peft_type'))}")
    if config.get("bias", "none") != "none":
        raise NotAttachable("it changes biases of its base")
    if config.get("init_lora_weights", True) not in PLAIN_STARTS:
        raise NotAttachable(f"it starts from {_shown(config['init_lora_weights'])}, not its base")
    if unknown := sorted(name for name in config.keys() - HARMLESS if config[name]):
        raise NotAttachable(f"it uses {_shown(', '.join(unknown))}")
    patterns = config.get("alpha_pattern") or {}
    if not isinstance(patterns, dict) or not all(map(PLAIN.fullmatch, patterns)):
        raise NotAttachable("its alpha_pattern is more than names of modules")
    alphas = {name: _alpha(value) for name, value in patterns.items()}
    return Rules(_alpha(config.get("lora_alpha")), alphas, bool(config.get("use_rslora")))


def pairs(names: Iterable[str]) -> dict[str, Pair]:
    """Give the matrices of each module that the file changes. Raises: NotAttachable."""
    found: dict[str, Pair] = {}
    for name in names:
        parts = NAME.fullmatch(name)
        if parts is None:
            raise NotAttachable(f"{_shown(name)} is no part of a plain LoRA adapter")
        module, which = parts.groups()
        if module.rsplit(".", maxsplit=1)[-1] in HEADS:
            raise NotAttachable(f"it changes {module}")
        setattr(found.setdefault(module, Pair()), which.lower(), name)
    if not found:
        raise NotAttachable(f"{WEIGHTS} holds no LoRA matrices")
    if half := sorted(module for module, pair in found.items() if not (pair.a and pair.b)):
        raise NotAttachable(f"{half[0]} has one of two matrices only")
    return found


def rank(module: str, a: list[int], b: list[int], inputs: int, outputs: int) -> int:
    """Compare the shapes of A and B with their module's own. Raises: NotAttachable."""
    fits = len(a) == len(b) == 2 and a[0] == b[1] and (a[1], b[0]) == (inputs, outputs)
    if not fits or not 1 <= a[0] <= MAX_RANK:
        raise NotAttachable(
            f"its matrices of {module} are {a} and {b}, which its base with {inputs} inputs and"
            f" {outputs} outputs does not take"
        )
    return a[0]


def _config(file: Path) -> dict[str, Any]:
    try:
        with open_plain(file) as stream:
            data = stream.read(MAX_CONFIG_BYTES + 1)
        found = json.loads(data) if len(data) <= MAX_CONFIG_BYTES else None
    except (OSError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise NotAttachable(f"{file.name} is missing, too large or no JSON object")
    return found


def _alpha(value: object) -> float:
    """Raises: NotAttachable."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MAX_ALPHA:
        raise NotAttachable(f"its alpha is {_shown(value)}, which is no number in range")
    return float(value)


def _shown(value: object) -> str:
    return ascii(value)[:100]
