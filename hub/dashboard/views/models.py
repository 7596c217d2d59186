"""The catalog of models, and a model's own page."""

from typing import Any

from asgiref.sync import async_to_sync
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe
from django.views.decorators.vary import vary_on_headers

from hub.dashboard import guards, pages, rows, verdicts, watcher
from hub.dashboard.catalog_table import Table, Wish
from hub.dashboard.watcher import Tick

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
    tick = async_to_sync(watcher.current)()
    row = rows.named(name, tick.snapshot)
    if row is None:
        raise Http404
    return pages.show(request, "pages/model.html", name, ["pulse"], _about(row, tick))


def _about(row: rows.ModelRow, tick: Tick) -> dict[str, Any]:
    return {"row": row, "verdict": verdicts.of([row], tick.snapshot).get(row.model.pk)}
