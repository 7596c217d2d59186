"""Attached LoRA adapters: their matrices on the device, added to the rows that asked for them.

A base's projection y = W x becomes y + B A x x scale for the rows of an adapter, and stays what it was
for all others, to the bit. Made by `adapters`, used by the decoders. On a CPU it is computed in float32:
small products in bfloat16 take four times as long there.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import SafetensorError, safe_open
from torch import Tensor

from inference import wire
from inference.engines import lora_file
from inference.engines.lora_file import NotAttachable
from inference.errors import LoadFailed


@dataclass(frozen=True, slots=True)
class Place:
    """Where a module's output lies in a decoder: in the projection `key`, `width` wide, from `offset` on."""

    key: Hashable
    inputs: int
    outputs: int
    offset: int
    width: int


@dataclass(slots=True)
class Delta:
    """What an adapter adds to one projection of the decoder; zeros where a fused one has no part."""

    down: Tensor  # (ranks of all parts, inputs)
    up: Tensor  # (ranks of all parts, width), scaled

    def add(self, hidden: Tensor, out: Tensor, rows: Tensor | None) -> None:
        """Add to these rows (None: all) of the first dimension."""
        own = hidden if rows is None else hidden[rows]
        more = (F.linear(own.to(self.down.dtype), self.down) @ self.up).to(out.dtype)
        if rows is None:
            out.add_(more)
        else:
            out.index_add_(0, rows, more)


@dataclass(slots=True, eq=False)
class Lora:
    """An adapter that is on the device."""

    key: str
    nbytes: int
    deltas: dict[Hashable, Delta] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """The rows of a step that one adapter changes; None: all of them."""

    lora: Lora
    rows: Tensor | None

    def add(self, key: Hashable, hidden: Tensor, out: Tensor) -> None:
        delta = self.lora.deltas.get(key)
        if delta is not None:
            delta.add(hidden, out, self.rows)


def groups(spans: Iterable[tuple[Lora | None, int]], device: torch.device) -> list[Group]:
    """Gather the rows of each adapter, given whose the next so many rows are."""
    rows: dict[Lora, list[int]] = {}
    at = 0
    for lora, count in spans:
        if lora is not None:
            rows.setdefault(lora, []).extend(range(at, at + count))
        at += count
    return [
        Group(lora, None if len(own) == at else torch.tensor(own, device=device))
        for lora, own in rows.items()
    ]


class LoraFile:
    """An adapter's folder, compared with the base that it is to change."""

    def __init__(
        self, adapter: wire.Adapter, place: Callable[[str], Place], dtype: torch.dtype
    ) -> None:
        """`place` says where a module is; it raises NotAttachable. Raises: LoadFailed."""
        self._adapter, self._dtype = adapter, dtype
        self._folder = Path(adapter.path)
        try:
            self._rules = lora_file.rules(self._folder)
            with self._open() as file:
                self._pairs = lora_file.pairs(file.keys())
                shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
            self._places = {module: place(module) for module in self._pairs}
            self._ranks = {module: self._rank(module, shapes) for module in self._pairs}
        except (NotAttachable, OSError, SafetensorError) as error:
            raise _refused(adapter, error) from error

    @property
    def nbytes(self) -> int:
        """Give what it will take on the device."""
        sizes = (
            self._ranks[module] * (place.inputs + place.width)
            for module, place in self._places.items()
        )
        return sum(sizes) * self._dtype.itemsize

    def read(self, device: torch.device) -> Lora:
        """Raises: LoadFailed."""
        made = Lora(self._adapter.key, self.nbytes)
        try:
            with self._open() as file:
                for key, modules in self._by_key().items():
                    made.deltas[key] = self._delta(file, modules, device)
        except (NotAttachable, OSError, SafetensorError) as error:
            raise _refused(self._adapter, error) from error
        return made

    def _open(self) -> Any:
        return safe_open(self._folder / lora_file.WEIGHTS, framework="pt")

    def _rank(self, module: str, shapes: dict[str, list[int]]) -> int:
        pair, place = self._pairs[module], self._places[module]
        return lora_file.rank(module, shapes[pair.a], shapes[pair.b], place.inputs, place.outputs)

    def _by_key(self) -> dict[Hashable, list[str]]:
        found: dict[Hashable, list[str]] = {}
        for module, place in self._places.items():
            found.setdefault(place.key, []).append(module)
        return found

    def _delta(self, file: Any, modules: Sequence[str], device: torch.device) -> Delta:
        """Lay the modules of one projection together: one product instead of one for each.

        Raises: NotAttachable.
        """
        downs, ups = [], []
        for module in modules:
            pair, place, rank = self._pairs[module], self._places[module], self._ranks[module]
            down = file.get_tensor(pair.a).to(self._dtype)
            up = torch.zeros((rank, place.width), dtype=self._dtype)
            scaled = file.get_tensor(pair.b).float() * self._rules.scale(module, rank)
            up[:, place.offset : place.offset + place.outputs] = scaled.T
            if not (down.isfinite().all() and up.isfinite().all()):
                raise NotAttachable(f"its matrices of {module} hold what is no finite number")
            downs.append(down)
            ups.append(up)
        return Delta(torch.cat(downs).to(device), torch.cat(ups).to(device))


def _refused(adapter: wire.Adapter, error: Exception) -> LoadFailed:
    return LoadFailed(f"the adapter {adapter.name} cannot be attached: {error}", param="model")
