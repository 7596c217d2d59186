"""DPO over pairs of answers: the trainer whose loss compares with the base. Made by `methods`."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from training.run import libraries, loss
from training.run.batches import Row
from training.run.trainer import JobTrainer


class Preference(JobTrainer, libraries.DPOTrainer):  # type: ignore[misc]
    """DPO. What the base says of each pair is computed once, before the first step."""

    reference: Tensor  # (pairs, 2)

    def _prepare_dataset(self, dataset: Any, *_args: Any) -> Any:
        return dataset  # ours are token ids already

    def _precompute_ref_logps(self, dataset: Any, *_args: Any) -> Any:
        return dataset  # see `learn_reference`

    def items(self, batch: dict[str, Tensor]) -> int:
        """Pairs; those that only fill up a batch are none."""
        return int((batch["rows"] >= 0).sum())

    def summed(self, model: Any, inputs: dict[str, Tensor]) -> Tensor:
        real = (inputs["rows"] >= 0).float()
        policy = loss.by_row(self.head, model, inputs)
        reference = self.reference.to(policy.device)[inputs["rows"]].T.reshape(-1)
        losses, shown = loss.preference(policy, reference, self.work.recipe.beta)
        self.note({name: values[inputs["rows"] >= 0] for name, values in shown.items()})
        return (losses * real).sum()

    def learn_reference(self) -> None:
        """Every rank computes all of it: the same numbers without a message."""
        with self.without_adapter():
            self.reference = self.likelihoods(self.work.rows)

    @torch.no_grad()
    def likelihoods(self, given: Sequence[Row]) -> Tensor:
        """Of both answers of each pair (pairs, 2)."""
        size, rows = self.work.recipe.batch_size, list(enumerate(given))
        found = torch.zeros(len(rows), 2)
        self.model.eval()
        with self.accelerator.autocast():
            for at in range(0, len(rows), size):
                batch = self._prepare_inputs(self.collate(rows[at : at + size]))
                own = loss.by_row(self.head, self.model, batch)
                found[batch["rows"].cpu()] = own.view(2, -1).T.float().cpu()
        return found
