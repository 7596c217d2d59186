"""Several short rows in one, told apart by their positions. Exact: no row sees another.

Whether a model's attention really tells them apart is tried before it is relied on.
"""

from collections.abc import Sequence
from typing import Any

import torch

from training.run.rendering import IGNORED, Example

TOLERANCE = 1e-2  # of log-likelihoods; rows that see each other are off by more than 0.1


def pack(examples: Sequence[Example], max_length: int) -> list[Example]:
    """Best-fit decreasing; the same rows give the same packs."""
    order = sorted(range(len(examples)), key=lambda at: (-len(examples[at].ids), at))
    packs: list[list[int]] = []
    by_room: dict[int, list[int]] = {}
    rooms: list[int] = []
    for at in order:
        size = len(examples[at].ids)
        fitting = min((room for room in by_room if room >= size and by_room[room]), default=None)
        if fitting is None:
            packs.append([])
            rooms.append(max_length)
            chosen = len(packs) - 1
        else:
            chosen = by_room[fitting].pop()
        packs[chosen].append(at)
        rooms[chosen] -= size
        by_room.setdefault(rooms[chosen], []).append(chosen)
    return [_joined([examples[at] for at in sorted(pack)]) for pack in packs]


def split(example: Example, max_length: int) -> list[Example]:
    """Cut a long text into pieces instead of losing its end; the first token of a piece is not learned."""
    pieces = []
    for at in range(0, len(example.ids), max_length):
        labels = example.labels[at : at + max_length]
        labels[0] = IGNORED
        pieces.append(Example(example.ids[at : at + max_length], labels))
    return [piece for piece in pieces if piece.supervised]


def _joined(parts: Sequence[Example]) -> Example:
    made = Example([], [])
    for part in parts:
        made.ids += part.ids
        made.labels += part.labels
        made.positions += range(len(part.ids))
        made.cut += part.cut
    return made


@torch.no_grad()
def is_exact(model: Any, device: torch.device) -> bool:
    """Compare two rows packed with each alone, on this very model."""
    ids = [[5, 9, 3, 7, 11, 2], [8, 4, 6, 10, 12]]
    vocabulary = model.config.get_text_config().vocab_size
    rows = [[token % vocabulary for token in row] for row in ids]
    was_training = model.training
    model.eval()
    try:
        alone = [_logits(model, [row], None, device) for row in rows]
        positions = [at for row in rows for at in range(len(row))]
        packed = _logits(model, [rows[0] + rows[1]], [positions], device)
    except (TypeError, ValueError):
        return False  # a model that takes no positions
    finally:
        model.train(was_training)
    apart = torch.cat(alone, dim=1).float().log_softmax(-1)
    return bool(
        (packed.float().log_softmax(-1) - apart).abs().max() < TOLERANCE * apart.abs().max()
    )


def _logits(
    model: Any, ids: list[list[int]], positions: list[list[int]] | None, device: torch.device
) -> torch.Tensor:
    given = {"input_ids": torch.tensor(ids, device=device)}
    if positions is not None:
        given["position_ids"] = torch.tensor(positions, device=device)
    found: torch.Tensor = model(**given, use_cache=False, return_dict=True).logits
    return found
