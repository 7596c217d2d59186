"""The loss of a batch, projecting only the positions that are learned.

A hook narrows the hidden states before the model's own head, so that whatever a model does around its
head (scales, soft caps) stays its own, and (B, T, V) logits are never made.
"""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from training.run.rendering import IGNORED

GIVEN = ("input_ids", "attention_mask", "position_ids")


class Head:
    """The hook on the output layer; one forward at a time."""

    def __init__(self, model: Any) -> None:
        self._keep: Tensor | None = None
        head = model.get_output_embeddings()
        if not isinstance(head, nn.Module):
            raise TypeError(f"{type(model).__name__} has no output layer")
        head.register_forward_pre_hook(self._narrow)

    def _narrow(self, _head: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if self._keep is None:
            return None
        hidden, *rest = given
        return (hidden[:, :-1][self._keep], *rest)

    def logits(self, model: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Give logits (N, V) and targets (N,) of the N learned positions, and where they are (B, T-1)."""
        targets = batch["labels"][:, 1:]
        self._keep = targets != IGNORED
        try:
            given = {name: batch[name] for name in GIVEN if name in batch}
            logits: Tensor = model(**given, use_cache=False, return_dict=True).logits
        finally:
            keep, self._keep = self._keep, None
        return logits, targets[keep], keep


def summed(head: Head, model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """Negative log-likelihood, summed over the learned tokens of the batch."""
    logits, targets, _ = head.logits(model, batch)
    return F.cross_entropy(logits.float(), targets, reduction="sum")


def by_row(head: Head, model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """Log-likelihood of each row's learned tokens (B,)."""
    logits, targets, keep = head.logits(model, batch)
    own = -F.cross_entropy(logits.float(), targets, reduction="none")
    rows = keep.nonzero()[:, 0]
    return torch.zeros(len(keep), dtype=own.dtype, device=own.device).index_add(0, rows, own)


def preference(policy: Tensor, reference: Tensor, beta: float) -> tuple[Tensor, dict[str, Tensor]]:
    """DPO's loss for each pair (P,), from log-likelihoods (2P,): all chosen, then all rejected.

    Source: Rafailov et al. 2023, equation 7.
    """
    chosen, rejected = (beta * (policy - reference)).chunk(2)
    margins = chosen - rejected
    shown = {
        "rewards_chosen": chosen.detach(),
        "rewards_rejected": rejected.detach(),
        "rewards_margin": margins.detach(),
        "rewards_accuracy": (margins.detach() > 0).float(),
    }
    return -F.logsigmoid(margins), shown
