"""The engines of one model side by side: where each is, how it is, what it takes against the estimate."""

from dataclasses import dataclass

from hub.dashboard import memory, units
from hub.dashboard.estimates import Memory
from hub.dashboard.rows import LOADED, ModelRow
from hub.dashboard.states import State
from inference import wire


@dataclass(frozen=True, slots=True)
class Engine:
    """What one engine has on one device; `estimated_bytes` 0: its files tell nothing."""

    number: int
    device: str
    state: State
    measured_bytes: int
    claimed_bytes: int
    estimated_bytes: int
    reason: str

    @property
    def deviation_percent(self) -> int | None:
        return units.deviation_percent(self.claimed_bytes, self.estimated_bytes)


@dataclass(frozen=True, slots=True)
class Replicas:
    wanted: int
    engines: tuple[Engine, ...]

    @property
    def ready(self) -> int:
        """How many answer now; one over several devices is one."""
        return len({engine.number for engine in self.engines if engine.state.key in LOADED})


def of(row: ModelRow, estimate: Memory | None) -> Replicas | None:
    """Give None where one engine on one device is all that there is and all that is wanted."""
    wanted = int(row.model.settings.get("replicas") or 1)
    status = row.status
    parts = status.spots if status and (row.is_loaded or row.state.key == "loading") else []
    if wanted < 2 and len(parts) < 2:
        return None
    each = estimate.each_bytes if estimate else 0
    return Replicas(wanted, tuple(_engine(status, part, each) for part in parts if status))


def _engine(status: wire.ModelStatus, part: wire.Part, estimated_bytes: int) -> Engine:
    return Engine(
        number=part.replica,
        device=part.device,
        state=memory.state_of(status, part),
        measured_bytes=part.memory_bytes,
        claimed_bytes=part.claim_bytes,
        estimated_bytes=estimated_bytes,
        reason=part.reason,
    )
