"""How much a training computes, by its parameters and tokens. Pure."""

from training.recipes.facts import Base, Rows
from training.recipes.recipe import Recipe

FORWARD, THROUGH, WEIGHTS = (
    2,
    2,
    2,
)  # operations for each weight and token; Source: Kaplan et al. 2020


def operations(base: Base, recipe: Recipe, rows: Rows, tokens: int) -> float:
    """Give floating-point operations of `tokens` in all.

    The head is computed for learned tokens alone. Frozen weights have no gradient of their own; a step that
    keeps no activations goes forward twice; pairs are two rows, and the base reads them once, too.
    """
    body = base.parameters - base.plain_parameters
    head = base.vocabulary * base.hidden * rows.supervised_tokens / max(rows.tokens, 1)
    passes = FORWARD + THROUGH + (0 if recipe.adapts else WEIGHTS)
    again = FORWARD if recipe.gradient_checkpointing else 0
    found = (body + head) * passes + body * again
    if recipe.objective == "dpo":
        found = 2 * (found + (body + head) * FORWARD / max(recipe.epochs, 1.0))
    return found * tokens
