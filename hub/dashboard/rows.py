"""Models as the dashboard shows them: the catalog's row, its names, and what the node knows."""

from dataclasses import dataclass

from django.db.models import Case, Prefetch, Q, When

from hub.dashboard import states
from hub.dashboard.states import State
from inference import wire
from inference.models import Alias, Model

SHOWN = 200  # rows of a page; the search finds the others
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


def listing(snapshot: wire.Snapshot | None, search: str = "") -> list[ModelRow]:
    """Give what is in use or wants attention, then others by kind and name, up to SHOWN."""
    known = {status.name: status for status in (snapshot.models if snapshot else [])}
    aliases = Prefetch("aliases", queryset=Alias.objects.order_by("name"))
    quiet = Q(state=Model.State.AVAILABLE) & ~Q(name__in=list(known))
    wanted = Q(name__icontains=search) | Q(aliases__name__icontains=search) if search else Q()
    models = (
        Model.objects.filter(wanted)
        .distinct()
        .annotate(later=Case(When(quiet, then=1), default=0))
        .order_by("later", "kind", "name")
        .prefetch_related(aliases)[:SHOWN]
    )
    rows = [_row(model, known.get(model.name)) for model in models]
    return sorted(rows, key=lambda row: (row.model.kind, row.name))


def _row(model: Model, status: wire.ModelStatus | None) -> ModelRow:
    aliases = tuple(alias.name for alias in model.aliases.all())
    return ModelRow(model, _state(model, status), aliases, status)


def _state(model: Model, status: wire.ModelStatus | None) -> State:
    if model.state in {Model.State.FAILED, Model.State.CANCELLED}:
        return states.failed(model.state_reason)
    if model.state != Model.State.AVAILABLE:
        return states.preparing(_percent(model))
    return states.of(status) if status else states.unloaded()


def _percent(model: Model) -> int | None:
    """Of a model's files that are on their way."""
    if not model.total_bytes:
        return None
    return min(100, round(100 * model.done_bytes / model.total_bytes))
