"""What a model was estimated to take, beside what was measured of it."""

from dataclasses import dataclass
from typing import Any

import msgspec

from hub.dashboard import units
from hub.dashboard.rows import ModelRow
from inference import fit, specs, wire
from inference.errors import HubError
from inference.models import Model


@dataclass(frozen=True, slots=True)
class Memory:
    """`each_bytes` is the formula's, before any load, on each device of each engine; `estimated_bytes` is that of
    the engines that are there, or of the first. The others are 0 while it is not loaded.
    """

    each_bytes: int
    estimated_bytes: int
    claimed_bytes: int
    measured_bytes: int
    context_tokens: int = 0  # that are planned for one request; 0: not known
    smaller: tuple[dict[str, Any], ...] = ()  # what 8 and 4 bits would be, where it does not fit

    @property
    def deviation_percent(self) -> int | None:
        """Give by how much the claim after the load differs from the estimate."""
        return units.deviation_percent(self.claimed_bytes, self.estimated_bytes)


def of(row: ModelRow, snapshot: wire.Snapshot | None) -> Memory | None:
    """Estimate as if it were not loaded; None where its files tell nothing."""
    if snapshot is None or row.model.state != Model.State.AVAILABLE or row.model.is_attached:
        return None
    others = [model for model in snapshot.models if model.name != row.name]
    try:
        spec = specs.of(row.model)
    except (msgspec.ValidationError, HubError):
        return None
    found = fit.of(spec, msgspec.structs.replace(snapshot, models=others))
    if found is None:
        return None
    status = row.status if row.is_loaded else None
    claimed, measured = (status.claim_bytes, status.memory_bytes) if status else (0, 0)
    each = found["needed_bytes"]
    return Memory(
        each,
        each * places(status),
        claimed,
        measured,
        context_tokens=found["context_tokens"],
        smaller=tuple(found["smaller"]),
    )


def places(status: wire.ModelStatus | None) -> int:
    """Count the devices of its engines, but of those that leave."""
    parts = status.spots if status else []
    return sum(part.state != "draining" for part in parts) or 1
