"""A training's plan as a bar of the device's memory: what stays, what it takes, what is left. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Parts of `recipes.memory.Need` as the bar tells them apart, with the look of the memory map.
PARTS = {
    "weights": ("weights",),
    "kv": ("trainable", "optimizer"),
    "other": ("activations", "logits"),
    "standby": ("floor",),
}


@dataclass(frozen=True, slots=True)
class Piece:
    """`start` and `width` are per cent of the bar."""

    kind: str  # a look of the memory map; `others`: what stays
    n_bytes: int
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Bar:
    """`limit_at` is where the device's limit lies, in per cent: 100 where all fits."""

    pieces: list[Piece]
    stays_bytes: int
    left_bytes: int
    limit_at: float


def of(plan: Mapping[str, Any]) -> Bar | None:
    """Draw a plan as `plans.shown` gives it; None while nobody knows the device."""
    memory = plan["memory"]
    limit = memory["limit_bytes"]
    if not limit:
        return None
    freed = sum(victim["claim_bytes"] for victim in plan["unloads"])
    stays = max(0, limit - memory["free_bytes"] - freed)
    sizes = {"others": stays, **_sizes(memory["parts"])}
    whole = max(limit, sum(sizes.values()))
    left = limit - sum(sizes.values())
    return Bar([*_pieces(sizes, whole)], stays, max(0, left), 100 * limit / whole)


def _sizes(parts: Mapping[str, int]) -> dict[str, int]:
    return {kind: sum(parts.get(name, 0) for name in names) for kind, names in PARTS.items()}


def _pieces(sizes: Mapping[str, int], whole: int) -> Iterator[Piece]:
    at = 0
    for kind, size in sizes.items():
        if size:
            yield Piece(kind, size, 100 * at / whole, 100 * size / whole)
        at += size
