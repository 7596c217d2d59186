"""Prompts that cost more than their bound: what a model's template adds beyond it is learned by this process."""

from inference.api.meter import Served
from inference.openai.costs import Cost

MOST_TOKENS = 4096  # of a template; an image may cost more, and says nothing of other prompts
_learned: dict[str, int] = {}  # model: tokens of each prompt


def added(cost: Cost, model: str) -> Cost:
    return cost.plus(_learned.get(model, 0))


def learn(model: str, cost: Cost, served: Served) -> bool:
    """Take in what an engine counted; tell whether that was new."""
    over = served.prompt_tokens - cost.prompt
    if over <= 0 or not cost.prompts:
        return False
    before = _learned.get(model, 0)
    _learned[model] = min(before + -(-over // cost.prompts), MOST_TOKENS)
    return _learned[model] > before
