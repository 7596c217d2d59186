"""What a million tokens of a model cost: put, drop, list; `usage_rows` asks for the costs of a batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from django.db import transaction

from accounts import audit, model_names
from accounts.denials import Refusal
from accounts.entry import Entry
from accounts.models import Price

KINDS = ("prompt", "cached", "completion")
MOST = Decimal(100_000)


class PriceRefused(Refusal):
    """A price cannot be set; `field` is the argument at fault."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Per million tokens; cached tokens are part of the prompt's and have their own price."""

    prompt: Decimal
    cached: Decimal
    completion: Decimal

    def nano(self, entry: Entry) -> int:
        """Give the cost in billionths of the currency."""
        fresh = entry.prompt_tokens - entry.cached_tokens
        micro = (
            fresh * self.prompt
            + entry.cached_tokens * self.cached
            + entry.completion_tokens * self.completion
        )
        return int(micro * 1000)


def current() -> dict[str, Cost]:
    """Give the costs of every model that has a price."""
    return {
        row["model"]: Cost(*(row[kind] for kind in KINDS))
        for row in Price.objects.values("model", *KINDS)
    }


def put(model: str, values: Mapping[str, Decimal]) -> Price:
    """Set the prices of a model from now on. Raises: PriceRefused."""
    if models := model_names.leads_to(model):
        words = f"This name leads to {', '.join(models)}: give what it leads to a price."
        raise PriceRefused(words, "model")
    for kind, value in values.items():
        if not value.is_finite() or not 0 <= value <= MOST:
            raise PriceRefused(f"A price is a number from 0 to {MOST}.", kind)
    with transaction.atomic():
        before = _of(model)
        price, _ = Price.objects.update_or_create(model=model, defaults=dict(values))
        audit.record("price.put", "price", model, before=before, after=_of(model))
    return price


def drop(model: str) -> bool:
    """Let a model be free from now on; tells whether it had a price."""
    with transaction.atomic():
        before = _of(model)
        if not Price.objects.filter(model=model).delete()[0]:
            return False
        audit.record("price.drop", "price", model, before=before, after={})
    return True


def _of(model: str) -> dict[str, str]:
    row = Price.objects.filter(model=model).values(*KINDS).first() or {}
    return {kind: str(value) for kind, value in row.items()}
