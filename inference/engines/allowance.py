"""What the limits of who asks leave to one request, held where its prompt has been counted.

Used by every engine that generates text and counts its own prompts.
"""

from inference import wire
from inference.errors import TokenBudgetExceeded


def within_budget(limit: int, prompt_tokens: int, body: wire.Generate) -> int:
    """Hold each choice to what is left beside the prompt. Raises: TokenBudgetExceeded."""
    if body.budget is None:
        return limit
    left = (body.budget - prompt_tokens) // body.n
    if left < min(1, limit):
        raise _over(prompt_tokens, body.budget)
    return min(limit, left)


def _over(prompt_tokens: int, budget: int) -> TokenBudgetExceeded:
    error = TokenBudgetExceeded(
        f"the prompt has {prompt_tokens} tokens, and the limits of tokens per hour leave {budget} to "
        "this request with its answer: send a shorter one, or ask for a higher limit"
    )
    error.prompt_tokens = prompt_tokens
    return error
