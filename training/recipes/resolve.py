"""From what was asked to a recipe of numbers, each "auto" with its reason. Pure.

Also says what could be changed where a recipe does not fit the memory.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from inference.errors import InvalidValue
from training.recipes import memory, shapes
from training.recipes.facts import Base, Machine, Rows
from training.recipes.recipe import Recipe
from training.recipes.shapes import Asked

WANTED_EXAMPLES = 400  # that a small data set is repeated to, as far as MOST_EPOCHS
FEWEST_EPOCHS, MOST_EPOCHS = 3, 20
SMALL_MODEL = 1_000_000_000  # parameters
STEPS_BETWEEN_SAVES = 50
LOOKS = 4  # at the held-out rows: a curve, for little of the time
MEMORY_PART = 0.9  # of the memory there is, that a plan may take
DEFAULT_SEED = 42


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """`reasons` has a line for each field that was not given."""

    recipe: Recipe
    seed: int
    reasons: dict[str, str]
    steps: int
    need: memory.Need


def resolve(
    asked: Asked,
    base: Base,
    rows: Rows,
    machine: Machine,
    defaults: Mapping[str, Any] | None = None,
    where: str = "training_config",
) -> Resolved:
    """`defaults` are the hub's own (`shapes.defaults_of`); "auto" passes them over. Raises: InvalidValue."""
    fields, reasons = dict(asked.fields), dict[str, str]()
    for name, value in (defaults or {}).items():
        if name not in fields and name not in asked.auto and name in shapes.allowed(asked):
            fields[name], reasons[name] = value, "the hub's default"
    _checked(fields, asked, where)
    auto = _Auto(asked, base, rows, machine)
    for name, (value, why) in auto.choose(fields):
        fields[name], reasons[name] = value, why
    recipe = _checked(fields, asked, where)
    recipe, more = _fitted(recipe, asked, base, rows, machine)
    need = _need(recipe, base, rows, machine)
    return Resolved(
        recipe=recipe,
        seed=DEFAULT_SEED if asked.seed is None else asked.seed,
        reasons=reasons | more,
        steps=steps(recipe, rows.rows),
        need=need,
    )


def _checked(fields: dict[str, Any], asked: Asked, where: str) -> Recipe:
    try:
        return msgspec.convert(fields, Recipe)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$.")
        name = path.rstrip("`").split("[")[0]
        param = f"{where}.{asked.given.get(name, name)}"
        raise InvalidValue(f"{param}: {message}", param=param) from error


def steps(recipe: Recipe, rows: int, world: int = 1) -> int:
    """Optimiser steps of a job without packing."""
    if recipe.max_steps:
        return recipe.max_steps
    batches = math.ceil(rows / (recipe.batch_size * world))
    by_epoch = math.ceil(batches / recipe.gradient_accumulation)
    return math.ceil(recipe.epochs * by_epoch)


def _need(recipe: Recipe, base: Base, rows: Rows, machine: Machine) -> memory.Need:
    longest = min(rows.longest_tokens, recipe.max_length)
    share = rows.supervised_tokens / max(rows.tokens, 1)
    return memory.need(base, recipe, longest, max(1, round(longest * share)), machine)


class _Auto:
    """One method for each value that the facts decide."""

    def __init__(self, asked: Asked, base: Base, rows: Rows, machine: Machine) -> None:
        self._asked, self._base, self._rows, self._machine = asked, base, rows, machine

    def choose(self, fields: dict[str, Any]) -> Iterator[tuple[str, tuple[Any, str]]]:
        """In an order where later ones may lean on earlier ones, which the caller has put in."""
        choices = {
            "precision": self._precision,
            "rank": self._rank,
            "alpha": self._alpha,
            "batch_size": self._batch_size,
            "learning_rate": self._learning_rate,
            "epochs": self._epochs,
            "max_length": self._max_length,
            "packing": self._packing,
            "train_on": self._train_on,
            "save_every_steps": self._save_every,
            "eval_every_steps": self._eval_every,
            "warmup_steps": self._warmup,
        }
        for name, choice in choices.items():
            if name not in fields:
                yield name, choice(fields)

    def _precision(self, _fields: dict[str, Any]) -> tuple[str, str]:
        if self._machine.bfloat16:
            return "bfloat16", "this machine computes bfloat16, at half the memory"
        return "float32", self._machine.bfloat16_why or "this machine has no bfloat16 units"

    def _rank(self, _fields: dict[str, Any]) -> tuple[int, str]:
        return 16, "enough for style and facts of a few thousand rows"

    def _alpha(self, fields: dict[str, Any]) -> tuple[float, str]:
        return 2.0 * fields["rank"], "twice the rank"

    def _batch_size(self, _fields: dict[str, Any]) -> tuple[int, str]:
        size = 8 if self._rows.rows >= 1000 else 4 if self._rows.rows >= 8 else 1
        return size, f"for {self._rows.rows} rows"

    def _learning_rate(self, fields: dict[str, Any]) -> tuple[float, str]:
        small = self._base.parameters < SMALL_MODEL
        if fields.get("objective") == "dpo":
            rate, why = 5e-5 if small else 5e-6, "DPO moves a little from its base"
        elif fields.get("tuner") == "full":
            rate, why = 5e-5 if small else 1e-5, "all weights move"
        else:
            rate, why = 1e-3 if small else 2e-4, "an adapter alone moves"
        why += f", {self._base.parameters / 1e6:.0f} M parameters"
        factor = self._asked.learning_rate_multiplier
        return (rate, why) if factor is None else (rate * factor, f"{why}, times {factor:g}")

    def _epochs(self, fields: dict[str, Any]) -> tuple[float, str]:
        if fields.get("max_steps"):
            return float(FEWEST_EPOCHS), "max_steps decides"
        if fields.get("objective", "sft") != "sft":
            return 1.0 if fields["objective"] == "pretrain" else 3.0, "usual for this objective"
        wanted = math.ceil(WANTED_EXAMPLES / max(self._rows.rows, 1))
        epochs = min(max(wanted, FEWEST_EPOCHS), MOST_EPOCHS)
        return float(epochs), f"{self._rows.rows} rows make {self._rows.rows * epochs} examples"

    def _max_length(self, _fields: dict[str, Any]) -> tuple[int, str]:
        fitting = max(8, min(self._rows.longest_tokens, self._base.context_tokens))
        if self._rows.longest_why:
            return fitting, self._rows.longest_why
        whole = fitting >= self._rows.longest_tokens
        return fitting, "the longest row" if whole else "the model's context; longer rows are cut"

    def _packing(self, fields: dict[str, Any]) -> tuple[bool, str]:
        if fields.get("objective") == "dpo":
            return False, "pairs are not packed"
        if fields.get("objective") == "pretrain":
            return True, "texts fill whole rows"
        return False, "rows of like length are batched together instead"

    def _train_on(self, fields: dict[str, Any]) -> tuple[str, str]:
        if fields.get("objective") == "pretrain":
            return "all", "every token is learned"
        return "assistant", "what the assistant says is learned"

    def _save_every(self, fields: dict[str, Any]) -> tuple[int, str]:
        count = steps(_rough(fields), self._rows.rows)
        every = max(1, min(STEPS_BETWEEN_SAVES, count // 4))
        return every, f"of {count} steps"

    def _eval_every(self, fields: dict[str, Any]) -> tuple[int, str]:
        count = steps(_rough(fields), self._rows.rows)
        every = math.ceil(count / LOOKS)
        return every, f"{LOOKS} looks at the held-out rows in {count} steps"

    def _warmup(self, fields: dict[str, Any]) -> tuple[int, str]:
        count, ratio = steps(_rough(fields), self._rows.rows), self._asked.warmup_ratio
        if ratio is not None:
            return round(count * ratio), f"{ratio:g} of {count} steps"
        return min(10, count // 20), f"a twentieth of {count} steps, 10 at most"


def _rough(fields: dict[str, Any]) -> Recipe:
    """For counting steps before all fields are checked."""
    names = ("epochs", "max_steps", "batch_size", "gradient_accumulation")
    try:
        return msgspec.convert({n: fields[n] for n in names if n in fields}, Recipe)
    except msgspec.ValidationError:
        return Recipe()


# --- memory ---------------------------------------------------------------------------------------


def _fitted(
    recipe: Recipe, asked: Asked, base: Base, rows: Rows, machine: Machine
) -> tuple[Recipe, dict[str, str]]:
    """Turn gradient checkpointing on only where it is needed, unless that was decided."""
    if "gradient_checkpointing" in asked.given:
        return recipe, {}
    if fits(_need(recipe, base, rows, machine).total, machine):
        return recipe, {"gradient_checkpointing": "activations fit the memory"}
    saving = msgspec.structs.replace(recipe, gradient_checkpointing=True)
    return saving, {"gradient_checkpointing": "activations would not fit; they are computed twice"}


def fits(need_bytes: int, machine: Machine) -> bool:
    return machine.memory_bytes is None or need_bytes <= machine.memory_bytes * MEMORY_PART


def changes_that_fit(
    recipe: Recipe, base: Base, rows: Rows, machine: Machine
) -> list[dict[str, Any]]:
    """Give changes of single fields, and all together, that would make the job fit; gentlest first."""
    found: list[dict[str, Any]] = []
    together: dict[str, Any] = {}
    for change in _changes(recipe, machine):
        together |= change
        for tried in (change, dict(together)):
            wanted = msgspec.structs.replace(recipe, **tried)
            total = _need(wanted, base, rows, machine).total
            if fits(total, machine) and tried not in [known["change"] for known in found]:
                found.append({"change": tried, "need_bytes": total})
    return found[:6]


def _changes(recipe: Recipe, machine: Machine) -> Iterator[dict[str, Any]]:
    if not recipe.gradient_checkpointing:
        yield {"gradient_checkpointing": True}
    if recipe.batch_size > 1:
        half = recipe.batch_size // 2
        yield {"batch_size": half, "gradient_accumulation": recipe.gradient_accumulation * 2}
        yield {
            "batch_size": 1,
            "gradient_accumulation": recipe.gradient_accumulation * recipe.batch_size,
        }
    if recipe.precision == "float32" and machine.bfloat16:
        yield {"precision": "bfloat16"}
    if recipe.max_length > 64:
        yield {"max_length": recipe.max_length // 2}
    if not recipe.adapts:
        yield {"tuner": "lora"}
    if recipe.quantization == "none":
        yield {"tuner": "lora", "quantization": "4bit"}
