"""Models as the dashboard shows them: the catalog's row, its names, and what the node knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db.models import Case, Prefetch, Q, QuerySet, When

from accounts.principals import Principal
from hub.dashboard import states
from hub.dashboard.states import State
from inference import live, sight, uploads, wire
from inference.models import Alias, Model

SHOWN = 200  # rows of the live panels; the catalog has them all
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
        return self.state.key in {"cold", "failed"} and self.is_available

    @property
    def has_not_come(self) -> bool:
        """Tell whether its arrival ended without its files."""
        return self.model.state in {Model.State.FAILED, Model.State.CANCELLED}

    @property
    def can_retry(self) -> bool:
        """Tell whether its files may be brought once more; an upload needs all of its parts."""
        return self.has_not_come and not (self.model.source == "upload" and self.is_half_uploaded)

    @property
    def is_half_uploaded(self) -> bool:
        return hasattr(self.model, "upload")

    @property
    def can_go_on(self) -> bool:
        """Tell whether an upload is not complete: its parts are kept, whoever began it may go on."""
        return self.is_half_uploaded and self.model.state in uploads.GOES_ON

    @property
    def can_cancel(self) -> bool:
        return self.model.is_arriving or self.model.state == Model.State.UPLOADING

    @property
    def can_remove(self) -> bool:
        """A starter would be back at the next start; what arrives is cancelled first."""
        return self.model.source != "starter" and not self.can_cancel

    @property
    def is_available(self) -> bool:
        return self.model.state == Model.State.AVAILABLE

    @property
    def can_pin(self) -> bool:
        """An attached adapter stays as long as its base."""
        return self.is_available and not self.model.is_attached

    @property
    def is_pinned(self) -> bool:
        return bool(self.model.settings.get("pinned"))

    @property
    def about(self) -> str:
        """Engine and quantization, as far as they are known."""
        return " · ".join(part for part in (self.model.engine, self.quantization) if part)

    @property
    def quantization(self) -> str:
        """What its engine makes of the files while it loads, or what these are themselves."""
        mode = str(self.model.settings.get("options", {}).get("quantization", "none"))
        return self.model.quantization if mode == "none" else mode

    @property
    def can_unload(self) -> bool:
        return (
            self.state.key in {"ready", "busy", "loading", "asleep"} and not self.model.is_attached
        )

    @property
    def context_tokens(self) -> int:
        told = self.status.context_tokens if self.status else 0
        chosen = self.model.settings.get("context_tokens")
        return told or chosen or self.model.context_tokens

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


def listing(snapshot: wire.Snapshot | None, who: Principal) -> list[ModelRow]:
    """Give what is in use or wants attention, then others by kind and name, up to SHOWN."""
    known = {status.name: status for status in (snapshot.models if snapshot else [])}
    quiet = Q(state=Model.State.AVAILABLE) & ~Q(name__in=list(known))
    models = (
        sight.models(who)
        .annotate(later=Case(When(quiet, then=1), default=0))
        .order_by("later", "kind", "name")
        .select_related("upload", "base")
        .prefetch_related(_aliases(who), "adapters", "base__adapters")[:SHOWN]
    )
    rows = [_row(model, live.status(model.name, model.served_as, known)) for model in models]
    return sorted(rows, key=lambda row: (row.model.kind, row.name))


def of_keys(
    keys: Sequence[int], known: Mapping[str, wire.ModelStatus], who: Principal
) -> list[ModelRow]:
    """Give these rows in this order; one that has gone meanwhile is left out."""
    rows = sight.models(who).select_related("upload", "base", "team")
    rows = rows.prefetch_related(_aliases(who), "adapters", "base__adapters")
    found = rows.in_bulk(keys)
    present = [found[key] for key in keys if key in found]
    return [_row(one, live.status(one.name, one.served_as, known)) for one in present]


def named(name: str, snapshot: wire.Snapshot | None, who: Principal) -> ModelRow | None:
    keys = [*sight.models(who).filter(name=name).values_list("pk", flat=True)]
    known = {status.name: status for status in (snapshot.models if snapshot else [])}
    return next(iter(of_keys(keys, known, who)), None)


def _aliases(who: Principal) -> "Prefetch[str, QuerySet[Alias]]":
    return Prefetch("aliases", queryset=Alias.objects.visible_to(who).order_by("name"))


def _row(model: Model, status: wire.ModelStatus | None) -> ModelRow:
    aliases = tuple(alias.name for alias in model.aliases.all())
    return ModelRow(model, state_of(model, status), aliases, status)


def state_of(model: Model, status: wire.ModelStatus | None) -> State:
    """Name the one state that matters: of the files while they are coming, else in the node."""
    if model.state == Model.State.CANCELLED:
        return states.cancelled()
    if model.state == Model.State.FAILED:
        return states.failed(model.state_reason)
    if model.state != Model.State.AVAILABLE:
        return states.arriving(model)
    return states.of(status) if status else states.unloaded()
