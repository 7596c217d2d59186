"""What one step of a language model takes and gives: the seam between batching and models.

A step advances every running sequence by one token and computes pieces of new prompts beside them.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.engines.kv_cache import Layout, Stage, Table
from inference.engines.lora import Lora, Place
from inference.engines.lora_file import NotAttachable

FIRST_IMAGE = 1 << 40  # of the numbers that stand for images; no vocabulary has so many tokens


def image_end(tokens: Sequence[int], end: int) -> int:
    """Move `end` behind the image that it would cut: its tokens are numbered one behind the other."""
    while (
        0 < end < len(tokens) and tokens[end] > FIRST_IMAGE and tokens[end] == tokens[end - 1] + 1
    ):
        end += 1
    return end


@dataclass(frozen=True, slots=True)
class Places:
    """Positions of a prompt whose images have some of their own; what follows goes on from there."""

    positions: Tensor  # (3, tokens of the prompt)
    shift: int  # from a token's index behind the prompt to its position

    def of(self, start: int, count: int) -> Tensor:
        """Give (3, count) from the token `start` on."""
        known = self.positions[:, start : start + count]
        begin = start + known.shape[1] + self.shift
        more = torch.arange(begin, begin + count - known.shape[1], device=known.device)
        return torch.cat((known, more.expand(3, -1)), 1)


@dataclass(frozen=True, slots=True)
class Decode:
    """One token for each row of a table, in the order of its rows."""

    table: Table
    tokens: Sequence[int]
    lengths: Sequence[int]  # tokens already in each row: the new token's position
    loras: Sequence[Lora | None] = ()  # of each row; empty: no row has one
    shifts: Sequence[int] = ()  # from lengths to positions, of each row; empty: none

    def lora(self, row: int) -> Lora | None:
        return self.loras[row] if self.loras else None

    def position(self, row: int) -> int:
        return self.lengths[row] + (self.shifts[row] if self.shifts else 0)


@dataclass(frozen=True, slots=True)
class Prefill:
    """A piece of a prompt. Logits are given for its last token, all of its tokens, or none."""

    stage: Stage
    tokens: Sequence[int]
    start: int
    want: int  # how many of its last tokens get logits
    lora: Lora | None = None
    places: Tensor | None = None  # (3, tokens), where positions are not just counted


class Decoder(ABC):
    """A loaded model."""

    layout: Layout
    vocab_tokens: int
    weights_bytes: int
    whole_images = False  # an image is computed in one piece: its tokens see each other both ways

    @abstractmethod
    def step(self, decodes: Sequence[Decode], prefills: Sequence[Prefill]) -> Tensor:
        """Compute logits (N, vocab): all decodes' rows first, then what each prefill wants.

        Writes the keys and values of every token into its table or stage.
        """

    def places(self, _prompt: Sequence[int]) -> Places | None:
        """Say where a prompt's tokens are; None: one behind the other."""
        return None

    def place(self, module: str) -> Place:
        """Say where an adapter's module is computed. Raises: NotAttachable."""
        raise NotAttachable(f"no adapter is attached to models of this kind ({module})")


class DecodeIndex:
    """Index tensors of a `Decode`, made once per step and used by every layer."""

    def __init__(self, decode: Decode) -> None:
        table = decode.table
        device = table.layout.device
        self.rows = len(decode.tokens)
        self.span = min(table.capacity, _round_up(max(decode.lengths) + 1))
        lengths = torch.tensor(decode.lengths, device=device)
        heads = torch.arange(self.rows * table.layout.kv_heads, device=device)
        at = lengths.repeat_interleave(table.layout.kv_heads)
        self._flat = heads * table.capacity + at
        keys, values = table.storage()
        self._keys, self._values = keys.unbind(0), values.unbind(0)
        self.mask = _length_mask(lengths, self.span, table.layout.dtype)

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store (rows, kv_heads, dim) and give (rows, kv_heads, span, dim) of keys and values."""
        own_keys, own_values = self._keys[layer], self._values[layer]
        own_keys.flatten(0, 2).index_copy_(0, self._flat, keys.reshape(-1, keys.shape[-1]))
        own_values.flatten(0, 2).index_copy_(0, self._flat, values.reshape(-1, values.shape[-1]))
        return own_keys[: self.rows, :, : self.span], own_values[: self.rows, :, : self.span]


class PrefillIndex:
    """The same for a `Prefill`."""

    def __init__(self, prefill: Prefill) -> None:
        self.start, self.count = prefill.start, len(prefill.tokens)
        self._stage = prefill.stage
        self.mask = None if prefill.start == 0 else self._lower_right()

    def write(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store (1, kv_heads, count, dim) and give everything up to here of keys and values."""
        end = self.start + self.count
        own_keys, own_values = self._stage.keys[layer], self._stage.values[layer]
        own_keys[:, :, self.start : end] = keys
        own_values[:, :, self.start : end] = values
        return own_keys[:, :, :end], own_values[:, :, :end]

    def _lower_right(self) -> Tensor:
        """Give (1, 1, count, start + count): each token sees all before it and itself."""
        layout = self._stage.layout
        columns = torch.arange(self.start + self.count, device=layout.device)
        rows = torch.arange(self.start, self.start + self.count, device=layout.device)
        return (columns[None, :] <= rows[:, None])[None, None]


def _length_mask(lengths: Tensor, span: int, dtype: torch.dtype) -> Tensor:
    """Give (rows, 1, 1, span): 0 up to and at each row's new token, minus infinity behind it."""
    columns = torch.arange(span, device=lengths.device)
    mask = torch.zeros((len(lengths), span), dtype=dtype, device=lengths.device)
    mask.masked_fill_(columns[None, :] > lengths[:, None], float("-inf"))
    return mask[:, None, None, :]


def _round_up(tokens: int) -> int:
    """Give the next multiple of 16: attention kernels want aligned masks."""
    return -(-tokens // 16) * 16
