"""Which rows make which batch, and the tensors of a batch. The same seed gives the same batches.

Rows of like length go together, so that little is padded; the order of the batches is random.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from training.run.rendering import IGNORED, Example, Pair

GROUP_BATCHES = 50  # lengths are sorted within so many batches, as transformers' own sampler does

Row = Example | Pair


class Batches(Sampler[list[int]]):
    """Rank-aware: each rank gets its share of every global batch, and equally many batches.

    A row that only fills up a batch is given as -1.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int,
        grouped: bool,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        super().__init__()
        self._lengths, self._size, self._seed, self._grouped = lengths, batch_size, seed, grouped
        self._rank, self._world, self._epoch = rank, world, 0

    def set_epoch(self, epoch: int) -> None:
        self._epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self._lengths) / (self._size * self._world))

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self._whole():
            own = batch[self._rank :: self._world]
            yield own or [-1]

    def _whole(self) -> list[list[int]]:
        """Give the global batches of this epoch."""
        chance = torch.Generator()
        chance.manual_seed(self._seed * 1_000_003 + self._epoch)
        order = torch.randperm(len(self._lengths), generator=chance).tolist()
        size = self._size * self._world
        if not self._grouped:
            return _chunks(order, size)
        made: list[list[int]] = []
        for group in _chunks(order, size * GROUP_BATCHES):
            made += _chunks(sorted(group, key=lambda at: -self._lengths[at]), size)
        rest = [batch for batch in made if len(batch) < size]
        full = [batch for batch in made if len(batch) == size]
        shuffled = torch.randperm(len(full), generator=chance).tolist()
        return [full[at] for at in shuffled] + rest

    def longest(self) -> list[int]:
        """Give the rows of the batch that will take the most memory."""
        by_length = sorted(range(len(self._lengths)), key=lambda at: -self._lengths[at])
        return by_length[: self._size]


class Loader(DataLoader[Any]):
    """`Trainer` calls `set_epoch` of a loader that has it."""

    def set_epoch(self, epoch: int) -> None:
        sampler: Any = self.batch_sampler
        sampler.set_epoch(epoch)


class Rows(torch.utils.data.Dataset[Any]):
    """The rows with their index, since a reference's answers are kept by it."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: int) -> tuple[int, Row]:
        return at, self._rows[at]


def length(row: Row) -> int:
    if isinstance(row, Example):
        return len(row.ids)
    return max(len(row.chosen.ids), len(row.rejected.ids))


def collate(rows: Sequence[tuple[int, Row]], pad: int) -> dict[str, Tensor]:
    """Give input_ids, labels (B, T) and, where needed, attention_mask or position_ids.

    Pairs come as all chosen, then all rejected, with `rows`, the index of each pair.
    """
    examples = [row for _, row in rows if isinstance(row, Example)]
    pairs = [row for _, row in rows if isinstance(row, Pair)]
    examples += [pair.chosen for pair in pairs] + [pair.rejected for pair in pairs]
    width = max(len(example.ids) for example in examples)
    batch = {
        "input_ids": _padded([example.ids for example in examples], width, pad),
        "labels": _padded([example.labels for example in examples], width, IGNORED),
    }
    if any(example.positions for example in examples):
        batch["position_ids"] = torch.stack([_positions(example, width) for example in examples])
    elif any(len(example.ids) < width for example in examples):
        masks = [[1] * len(example.ids) for example in examples]
        batch["attention_mask"] = _padded(masks, width, 0)
    if pairs:
        batch["rows"] = torch.tensor([at for at, _ in rows])
    return batch


def collate_or_fill(rows: Sequence[tuple[int, Row]], pad: int) -> dict[str, Tensor]:
    """A row of index -1 keeps a rank in step with the others and teaches nothing."""
    batch = collate(rows, pad)
    if rows[0][0] == -1:
        batch["labels"].fill_(IGNORED)
    return batch


def _padded(rows: Sequence[Sequence[int]], width: int, value: int) -> Tensor:
    return torch.tensor([[*row, *([value] * (width - len(row)))] for row in rows])


def _positions(example: Example, width: int) -> Tensor:
    own = example.positions or list(range(len(example.ids)))
    return torch.tensor([*own, *range(width - len(own))])


def _chunks(order: list[int], size: int) -> list[list[int]]:
    return [order[at : at + size] for at in range(0, len(order), size)]
