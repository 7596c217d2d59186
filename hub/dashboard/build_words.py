"""Words for what trainings and evaluations tell: metrics, reasons, ends of processes."""

import re
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from hub.dashboard import units
from training import contract, resolving

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

METRICS: "dict[str, _StrPromise]" = {
    "train_loss": _("Loss"),
    "valid_loss": _("Validation loss"),
    "base_loss": _("Validation loss of the base"),
    "guard_loss": _("Loss on the guard set"),
    "guard_base_loss": _("Loss of the base on the guard set"),
    "loss_ratio": _("Validation loss, of the base's"),
    "guard_ratio": _("Loss on the guard set, of the base's"),
    "champion_loss_ratio": _("Validation loss, of its"),
    "champion_guard_ratio": _("Loss on the guard set, of its"),
    "exact_match": _("Exact answers"),
    "json_valid": _("Valid JSON"),
    "tool_calls_valid": _("Valid tool calls"),
    "train_exact_match": _("Exact answers on training rows"),
    "train_json_valid": _("Valid JSON on training rows"),
    "train_tool_calls_valid": _("Valid tool calls on training rows"),
}
SHARES = ("exact_match", "json_valid", "tool_calls_valid")
TYPES: "dict[str, _StrPromise]" = {
    "lora": _("Adapter (LoRA): small, fast, answers beside its base"),
    "qlora": _("Adapter on a 4-bit base (QLoRA): least memory"),
    "full": _("All weights: most memory, a model of its own"),
    "dora": _("Adapter with direction and size apart (DoRA)"),
    "rslora": _("Adapter scaled for high ranks (rsLoRA)"),
    "pretrain": _("Continued pre-training on plain text"),
    "dpo": _("Preferences: better and worse answers (DPO)"),
}
EXITS: "dict[int, _StrPromise]" = {
    contract.DONE: _("done"),
    contract.PAUSED: _("paused"),
    contract.BAD_DATA: _("nothing to learn"),
    contract.OUT_OF_MEMORY: _("out of memory"),
    contract.FAILED: _("failed"),
}
EXPORTS: "dict[str, _StrPromise]" = {
    "waiting": _("waits"),
    "running": _("is being made"),
    "ready": _("ready"),
    "failed": _("failed"),
}
EVENT_ICONS = {
    "message": "info-circle",
    "plan": "stack-2",
    "checkpoint": "archive",
    "evaluation": "percentage",
    "export": "package",
}
# The resolver's reasons, which the recipe keeps in English.
REASONS: "dict[str, _StrPromise]" = {
    r"the hub's default": _("the hub's default"),
    r"this machine computes bfloat16, at half the memory": _(
        "this machine computes bfloat16, at half the memory"
    ),
    r"this machine has no bfloat16 units": _("this machine has no bfloat16 units"),
    r"nobody could ask this GPU for its compute capability": _(
        "nobody could ask this GPU for its compute capability"
    ),
    r"this GPU has compute capability (?P<n>[\d.]+), and bfloat16 begins at 8\.0": _(
        "this GPU has compute capability %(n)s, and bfloat16 begins at 8.0"
    ),
    r"enough for style and facts of a few thousand rows": _(
        "enough for style and facts of a few thousand rows"
    ),
    r"twice the rank": _("twice the rank"),
    r"for (?P<n>\d+) rows": _("for %(n)s rows"),
    r"DPO moves a little from its base, (?P<n>\d+) M parameters": _(
        "DPO moves a little from its base, %(n)s M parameters"
    ),
    r"all weights move, (?P<n>\d+) M parameters": _("all weights move, %(n)s M parameters"),
    r"an adapter alone moves, (?P<n>\d+) M parameters": _(
        "an adapter alone moves, %(n)s M parameters"
    ),
    r"max_steps decides": _("max_steps decides"),
    r"usual for this objective": _("usual for this objective"),
    r"(?P<n>\d+) rows make (?P<all>[\d.]+) examples": _("%(n)s rows make %(all)s examples"),
    r"the longest row": _("the longest row"),
    resolving.BY_BYTES: _(
        "no row is longer: its bytes count, as the data was checked without this base"
    ),
    resolving.UNCOUNTED: _(
        "the usual bound; longer rows are cut, and a check of the data with this base counts them"
    ),
    r"the model's context; longer rows are cut": _("the model's context; longer rows are cut"),
    r"pairs are not packed": _("pairs are not packed"),
    r"texts fill whole rows": _("texts fill whole rows"),
    r"rows of like length are batched together instead": _(
        "rows of like length are batched together instead"
    ),
    r"every token is learned": _("every token is learned"),
    r"what the assistant says is learned": _("what the assistant says is learned"),
    r"of (?P<n>\d+) steps": _("of %(n)s steps"),
    r"(?P<part>[\d.e-]+) of (?P<n>\d+) steps": _("%(part)s of %(n)s steps"),
    r"a twentieth of (?P<n>\d+) steps, 10 at most": _("a twentieth of %(n)s steps, 10 at most"),
    r"activations fit the memory": _("activations fit the memory"),
    r"activations would not fit; they are computed twice": _(
        "activations would not fit; they are computed twice"
    ),
}


def metric_word(name: str) -> str:
    return str(METRICS.get(name, name))


def metric_value(name: str, value: float) -> str:
    """Shares in per cent, losses as they are."""
    is_share = name.removeprefix("train_") in SHARES
    return f"{100 * value:.0f} %" if is_share else loss(value)


def type_word(name: str) -> str:
    return str(TYPES.get(name, name))


def export_word(state: str) -> str:
    return str(EXPORTS.get(state, state))


def exit_word(code: int | None) -> str:
    """Say how a process ended; a signal has a negative code."""
    if code is None:
        return ""
    return str(EXITS.get(code, _("was ended")))


def reason(text: str) -> str:
    """Say why a value is so; what is not known stays as it is."""
    for pattern, sentence in REASONS.items():
        if found := re.fullmatch(pattern, text):
            return str(sentence) % found.groupdict()
    return text


def loss(value: float | None) -> str:
    """Give four places; what is smaller still is not nothing."""
    if value is None:
        return units.UNKNOWN
    return "< 0.0001" if 0 < value < 0.00005 else f"{value:.4f}"


def figure(value: float | None) -> str:
    """Give four digits that matter, of numbers large and small."""
    return units.UNKNOWN if value is None else f"{value:.4g}"
