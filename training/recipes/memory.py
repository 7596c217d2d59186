"""How much memory a job will take, before anything is loaded. Preflight measures it afterwards. Pure."""

import msgspec

from training.recipes.facts import Base, Machine
from training.recipes.recipe import Recipe

FLOOR_BYTES = {"cpu": 700 * 10**6, "cuda": 600 * 10**6}  # libraries; on a GPU, its context
NF4_BYTES = 0.5 + 1 / 64 / 2  # 4 bits and a nested scale for 64 weights; Source: bitsandbytes
ADAM_STATES = 2
DISK_MARGIN = 1.05  # manifests, random states, metadata
LOGIT_COPIES = 3  # logits, their log-softmax, its gradient


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """In bytes; `total` is their sum."""

    floor: int
    weights: int
    trainable: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return (
            self.floor
            + self.weights
            + self.trainable
            + self.optimizer
            + self.activations
            + self.logits
        )


def adapter_parameters(base: Base, recipe: Recipe) -> int:
    """Of LoRA on every linear layer, or on those named."""
    h, i, kv, r = base.hidden, base.intermediate, base.kv_width, recipe.rank
    by_name = {
        "q_proj": 2 * h,
        "k_proj": h + kv,
        "v_proj": h + kv,
        "o_proj": 2 * h,
        "gate_proj": h + i,
        "up_proj": h + i,
        "down_proj": h + i,
    }
    wanted = recipe.target_modules or list(by_name)
    return base.layers * r * sum(by_name.get(name, 2 * h) for name in wanted)


def need(
    base: Base, recipe: Recipe, longest_tokens: int, supervised_tokens: int, machine: Machine
) -> Need:
    """`longest_tokens`, `supervised_tokens` are those of one row of the largest batch."""
    trained = adapter_parameters(base, recipe) if recipe.adapts else base.parameters
    rows = recipe.batch_size * (2 if recipe.objective == "dpo" else 1)
    element = 2 if recipe.precision == "bfloat16" else 4
    return Need(
        floor=FLOOR_BYTES[machine.device],
        weights=weights_bytes(base, recipe),
        trainable=4 * trained if recipe.adapts else 0,
        optimizer=4 * trained * (1 + ADAM_STATES),  # gradients too
        activations=int(_activations(base, recipe, rows * longest_tokens) * element),
        logits=rows * supervised_tokens * base.vocabulary * 4 * LOGIT_COPIES,
    )


def disk_bytes(base: Base, recipe: Recipe) -> int:
    """What the checkpoints that are kept, one more that is being written, and the result take."""
    trained = adapter_parameters(base, recipe) if recipe.adapts else base.parameters
    checkpoint = 4 * trained * (1 + ADAM_STATES)
    return int(checkpoint * (recipe.keep_checkpoints + 1) * DISK_MARGIN) + 4 * trained


def weights_bytes(base: Base, recipe: Recipe) -> int:
    element = 2 if recipe.precision == "bfloat16" and recipe.adapts else 4
    if recipe.quantization == "4bit":
        packed = base.parameters - base.plain_parameters
        return int(packed * NF4_BYTES) + base.plain_parameters * element
    return base.parameters * element


def _activations(base: Base, recipe: Recipe, tokens: int) -> float:
    """Elements that a forward keeps for its backward.

    A layer of a llama keeps its two inputs and norms, queries, keys, values, attention, and gate, up,
    their activation and product; each adapted projection keeps its input once more where dropout is on.
    """
    layer = 8 * base.hidden + 2 * base.kv_width + 4 * base.intermediate
    if recipe.dropout:
        layer += 5 * base.hidden + 3 * base.intermediate
    if recipe.gradient_checkpointing:
        return float(tokens) * (base.layers * base.hidden + layer)
    return float(tokens) * base.layers * layer
