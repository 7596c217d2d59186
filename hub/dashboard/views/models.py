"""The catalog of models, and a model's own page."""

from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from accounts.principals import Principal
from hub.dashboard import (
    contexts,
    courses,
    estimates,
    guards,
    model_form,
    pages,
    replicas,
    rows,
    verdicts,
    watcher,
)
from hub.dashboard.catalog_table import Table, Wish
from hub.dashboard.views import owning
from hub.dashboard.watcher import Tick
from inference import changes, operations, router, sight
from inference.errors import HubError
from inference.models import Model
from training.models import Job

SHOWN_FILES = 100
SHOWN_TRAININGS = 10
FILTERS = "catalog-form"  # the form of the page, as htmx names it


@require_safe
@vary_on_headers("HX-Request")
@guards.needs("models:read")
def models(request: HttpRequest) -> HttpResponse:
    """Show one page of the catalog; htmx gets the table alone."""
    tick = watcher.current_now()
    who = guards.principal(request)
    table = Table(tick.snapshot, Wish.of(request.GET), who)
    context = {"table": table, "verdicts": verdicts.of(table.rows, tick.snapshot, who)}
    if not _is_part(request):
        return pages.show(request, "pages/models.html", _("Models"), ["pulse"], context)
    context |= {"who": who, "is_part": True}
    answer = render(request, "panels/catalog.html", context)
    if request.headers.get("HX-Trigger") == FILTERS:
        answer["HX-Replace-Url"] = table.place
    return answer


def _is_part(request: HttpRequest) -> bool:
    """Going back in the browser's history asks for the whole page."""
    restores = request.headers.get("HX-History-Restore-Request") == "true"
    return request.headers.get("HX-Request") == "true" and not restores


@require_safe
@guards.needs("models:read")
def model(request: HttpRequest, name: str) -> HttpResponse:
    return _page(request, name)


@require_POST
@guards.needs("models:write")
def change(request: HttpRequest, name: str) -> HttpResponse:
    """Keep the settings of the model's page, or say on it what is wrong with them."""
    row = guards.model(request, name, "models:write")
    try:
        operations.change(row, _wanted(row, request.POST))
    except HubError as error:
        return _page(request, name, {"problem": pages.failure_text(error)})
    messages.success(request, _("The settings of %(name)s are kept.") % {"name": name})
    return redirect("model", name)


def _wanted(row: Model, written: QueryDict) -> changes.Change:
    """With another engine the options on the page are not that engine's. Raises: InvalidValue."""
    engine = written.get("engine", row.engine)
    settings = model_form.patch(row.engine, written)
    if engine != row.engine:
        settings.pop("options", None)
    return changes.Change(
        settings=settings,
        tags=model_form.tags(written.get("tags", "")),
        api_key=written.get("api_key", "").strip() or None,
        engine=engine,
    )


def _page(request: HttpRequest, name: str, more: dict[str, Any] | None = None) -> HttpResponse:
    tick = watcher.current_now()
    row = rows.named(name, tick.snapshot, guards.principal(request))
    if row is None:
        raise Http404
    written = request.POST if more else None
    given = written if written is not None else QueryDict()
    devices = tick.snapshot.devices if tick.snapshot else []
    context = _about(row, tick, guards.principal(request)) | (more or {})
    context |= {
        "lines": model_form.lines(row.model, devices, written),
        "engines": model_form.engines(row.model),
        "engine": given.get("engine", row.model.engine),
        "tags": given.get("tags", ", ".join(row.model.tags)),
        "may_turn": row.model.source != "starter",
    }
    context["pinned"] = written.get("pinned") == "yes" if written is not None else row.is_pinned
    status = 400 if more else 200
    return pages.show(request, "pages/model.html", name, ["pulse"], context, status)


def _about(row: rows.ModelRow, tick: Tick, who: Principal) -> dict[str, Any]:
    snapshot = sight.snapshot(tick.snapshot, who)
    decisions = snapshot.decisions if snapshot else []
    mine = [decision for decision in decisions if decision.model == row.name]
    memory = estimates.of(row, tick.snapshot)
    return {
        "row": row,
        "course": courses.of(row.name, tick),
        "charts": courses.CHARTS,
        "memory": memory,
        "context": contexts.of(row, memory),
        "replicas": replicas.of(row, memory),
        "files": row.model.report.get("files", [])[:SHOWN_FILES],
        "verdict": verdicts.of([row], tick.snapshot, who).get(row.model.pk),
        "log": _log(row.name) if who.allows("admin:system") else None,
        "timeline": sorted(mine, key=lambda decision: -decision.at),
        "teams": owning.teams_of(who),
        "adapters": _names(who, base=row.model),
        "variants": _names(who, variant_of=row.model),
        **_trained(row.name, who),
    }


def _names(who: Principal, **of: Model) -> list[str]:
    return [*sight.models(who).filter(**of).order_by("name").values_list("name", flat=True)]


def _trained(name: str, who: Principal) -> dict[str, Any]:
    """Give the training that a model came of, and those that began with it."""
    if not who.allows("training:read"):
        return {}
    seen = Job.objects.visible_to(who).select_related("version__data_set")
    made = Q(fine_tuned_model=name) | Q(checkpoints__model=name)
    origin = seen.filter(made).distinct().first()
    sees_data = origin is not None and who.sees(*origin.version.data_set.ownership)
    return {
        "origin": origin,
        "origin_data": origin.version if origin and sees_data else None,
        "trainings": seen.filter(base=name)[:SHOWN_TRAININGS],
    }


def _log(name: str) -> list[str]:
    try:
        return async_to_sync(router.tail)(name)
    except HubError:
        return []
