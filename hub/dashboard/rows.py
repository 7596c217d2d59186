"""Models as the dashboard shows them: the catalog's row, its names, and what the node knows."""

from dataclasses import dataclass

from django.db.models import Prefetch

from hub.dashboard import states
from hub.dashboard.states import State
from inference import wire
from inference.models import Alias, Model

LOADED = frozenset({"ready", "busy", "draining"})


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One line of the models table."""

    model: Model
    state: State
    aliases: tuple[str, ...]
    status: wire.ModelStatus | None

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def anchor(self) -> str:
        """An id for the page; primary keys are safe where names are not."""
        return f"model-{self.model.pk}"

    @property
    def is_loaded(self) -> bool:
        return self.state.key in LOADED

    @property
    def can_load(self) -> bool:
        return self.state.key in {"cold", "failed"} and self.model.state == Model.State.AVAILABLE

    @property
    def can_unload(self) -> bool:
        return self.state.key in {"ready", "busy", "loading"}

    @property
    def context_tokens(self) -> int:
        return (self.status.context_tokens if self.status else 0) or self.model.context_tokens

    @property
    def memory_bytes(self) -> int:
        return self.status.memory_bytes if self.status else 0

    @property
    def expected_bytes(self) -> int:
        """What a load took last time, or the files' size where it never was loaded."""
        return self.model.measured_bytes or self.model.size_bytes

    @property
    def more_aliases(self) -> int:
        """How many names are left after the two that fit."""
        return max(0, len(self.aliases) - 2)

    @property
    def requests_total(self) -> int:
        return self.status.requests_total if self.status else 0

    @property
    def idle_sort(self) -> int:
        """Seconds since the last use; models that are not loaded come last."""
        return int(self.status.idle_s) if self.status and self.is_loaded else 10**9

    @property
    def running(self) -> int:
        return self.status.running if self.status else 0

    @property
    def waiting(self) -> int:
        return self.status.waiting if self.status else 0


def listing(snapshot: wire.Snapshot | None) -> list[ModelRow]:
    """Give every model of the catalog, by name."""
    known = {status.name: status for status in (snapshot.models if snapshot else [])}
    names = Prefetch("aliases", queryset=Alias.objects.order_by("name"))
    models = Model.objects.order_by("kind", "name").prefetch_related(names)
    return [_row(model, known.get(model.name)) for model in models]


def _row(model: Model, status: wire.ModelStatus | None) -> ModelRow:
    aliases = tuple(alias.name for alias in model.aliases.all())
    return ModelRow(model, _state(model, status), aliases, status)


def _state(model: Model, status: wire.ModelStatus | None) -> State:
    if model.state == Model.State.FAILED:
        return states.failed(model.state_reason)
    if model.state == Model.State.PREPARING:
        return states.preparing(None)
    return states.of(status) if status else states.unloaded()
