"""The catalog of models, and a model's own page."""

from typing import Any

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe
from django.views.decorators.vary import vary_on_headers

from accounts.principals import Principal
from hub.dashboard import guards, model_form, pages, rows, verdicts, watcher
from hub.dashboard.catalog_table import Table, Wish
from hub.dashboard.watcher import Tick
from inference import operations, router
from inference.errors import HubError
from inference.models import Model

FILTERS = "catalog-form"  # the form of the page, as htmx names it


@require_safe
@vary_on_headers("HX-Request")
@guards.needs("models:read")
def models(request: HttpRequest) -> HttpResponse:
    """Show one page of the catalog; htmx gets the table alone."""
    tick = async_to_sync(watcher.current)()
    table = Table(tick.snapshot, Wish.of(request.GET))
    context = {"table": table, "verdicts": verdicts.of(table.rows, tick.snapshot)}
    if not _is_part(request):
        return pages.show(request, "pages/models.html", _("Models"), ["pulse"], context)
    context |= {"who": guards.principal(request), "is_part": True}
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
    row = get_object_or_404(Model, name=name)
    try:
        operations.change(row, model_form.patch(request.POST))
    except HubError as error:
        page = _page(request, name, {"problem": pages.failure_text(error)})
        page.status_code = 400
        return page
    messages.success(request, _("The settings of %(name)s are kept.") % {"name": name})
    return redirect("model", name)


def _page(request: HttpRequest, name: str, more: dict[str, Any] | None = None) -> HttpResponse:
    tick = async_to_sync(watcher.current)()
    row = rows.named(name, tick.snapshot)
    if row is None:
        raise Http404
    written = request.POST if more else None
    context = (
        _about(row, tick, guards.principal(request))
        | {"lines": model_form.lines(row.model, written)}
        | (more or {})
    )
    context["pinned"] = written.get("pinned") == "yes" if written is not None else row.is_pinned
    return pages.show(request, "pages/model.html", name, ["pulse"], context)


def _about(row: rows.ModelRow, tick: Tick, who: Principal) -> dict[str, Any]:
    decisions = tick.snapshot.decisions if tick.snapshot else []
    mine = [decision for decision in decisions if decision.model == row.name]
    return {
        "row": row,
        "verdict": verdicts.of([row], tick.snapshot).get(row.model.pk),
        "log": _log(row.name) if who.allows("system:manage") else None,
        "timeline": sorted(mine, key=lambda decision: -decision.at),
        "adapters": [*row.model.adapters.order_by("name").values_list("name", flat=True)],
        "variants": [*row.model.variants.order_by("name").values_list("name", flat=True)],
    }


def _log(name: str) -> list[str]:
    try:
        return async_to_sync(router.tail)(name)
    except HubError:
        return []
