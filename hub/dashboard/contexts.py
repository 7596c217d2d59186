"""How long a request to a model may be, and whether that is less than the model's own context."""

from dataclasses import dataclass

from hub.dashboard.estimates import Memory
from hub.dashboard.rows import ModelRow

KINDS = frozenset({"llm", "vlm"})  # others keep no keys and values


@dataclass(frozen=True, slots=True)
class Context:
    """`own_tokens` is 0 where nothing is taken from it, or an operator said how much is wanted."""

    tokens: int
    own_tokens: int = 0

    @property
    def is_cut(self) -> bool:
        return 0 < self.tokens < self.own_tokens


def of(row: ModelRow, memory: Memory | None) -> Context:
    """Give what its engine has, or what is planned for it."""
    model = row.model.base if row.model.base and row.model.is_attached else row.model
    told = row.status.context_tokens if row.status else 0
    asked = model.settings.get("context_tokens", 0)
    tokens = told or asked or (memory.context_tokens if memory else 0) or row.context_tokens
    return Context(tokens, 0 if asked or model.kind not in KINDS else model.context_tokens)
