"""The models table, a model's page, and the acts on a model."""

import asyncio
import json
import logging
from collections.abc import Coroutine
from typing import Any

from asgiref.sync import sync_to_async
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from hub.dashboard import guards, pages
from hub.dashboard.board import Board
from hub.dashboard.rows import ModelRow
from inference import catalog, fit, router
from inference.errors import HubError, NotFound
from inference.models import Model

log = logging.getLogger(__name__)
PATIENCE_S = 1.0
MAX_SEARCH_CHARS = 128
_acts: set[asyncio.Task[Any]] = set()  # a task that nobody holds may vanish


@require_safe
@guards.needs("models:read")
def models(request: HttpRequest) -> HttpResponse:
    """Show the table live; a search shows its finds and is polled."""
    search = request.GET.get("q", "").strip()[:MAX_SEARCH_CHARS]
    context = {"board": pages.board(search)}
    names = [] if search else ["models"]
    return pages.show(request, "pages/models.html", _("Models"), names, context)


@require_safe
@guards.needs("models:read")
def model(request: HttpRequest, name: str) -> HttpResponse:
    board = pages.board()
    found = next((row for row in board.rows if row.name == name), None)
    if found is None:
        raise Http404
    context = {"board": board, "row": found, "needed_bytes": _needed_bytes(found, board)}
    return pages.show(request, "pages/model.html", name, context=context)


def _needed_bytes(row: ModelRow, board: Board) -> int:
    """Give what the node will set aside for it; 0 where its files do not tell."""
    if row.state.key != "cold" or board.snapshot is None:
        return 0
    found = fit.of(catalog.spec_of(row.model), board.snapshot)
    return int(found["needed_bytes"]) if found else 0


@require_POST
async def load(request: HttpRequest, name: str) -> HttpResponse:
    """Start loading; the page shows progress and, if so, the failure."""
    await _check(request)
    try:
        resolved = await catalog.resolve(name)
    except NotFound as error:
        raise Http404 from error
    except HubError as error:
        return _answer(request, pages.failure_text(error), "bad")
    doing = _("Loading %(name)s.") % {"name": resolved.model}
    done = _("%(name)s is loaded.") % {"name": resolved.model}
    return await _act(request, router.load(resolved.spec), doing, done)


@require_POST
async def unload(request: HttpRequest, name: str) -> HttpResponse:
    """Let running requests end, then give the memory back."""
    await _check(request)
    if not await Model.objects.filter(name=name).aexists():
        raise Http404
    doing = _("Unloading %(name)s; running requests end first.") % {"name": name}
    done = _("%(name)s is unloaded.") % {"name": name}
    return await _act(request, router.unload(name), doing, done)


async def _act(
    request: HttpRequest, act: Coroutine[Any, Any, Any], doing: str, done: str
) -> HttpResponse:
    """Answer once the act has ended, or after a moment: it goes on without the visitor."""
    task = asyncio.create_task(_logged(act))
    _acts.add(task)
    task.add_done_callback(_acts.discard)
    finished, _running = await asyncio.wait({task}, timeout=PATIENCE_S)
    if not finished:
        return _answer(request, doing, "good")
    if (error := task.result()) is not None:
        return _answer(request, pages.failure_text(error), "bad")
    return _answer(request, done, "good")


async def _logged(act: Coroutine[Any, Any, Any]) -> HubError | None:
    try:
        await act
    except HubError as error:
        log.warning("act on a model failed", extra={"reason": error.message})
        return error
    return None


async def _check(request: HttpRequest) -> None:
    who = await sync_to_async(guards.principal)(request)
    guards.check(who, "models:manage")


def _answer(request: HttpRequest, text: str, tone: str) -> HttpResponse:
    """Give htmx a toast, and a browser without scripts the page again."""
    if request.headers.get("HX-Request") != "true":
        return redirect("models")
    trigger = json.dumps({"hub-toast": {"text": text, "tone": tone}})
    return HttpResponse(status=204, headers={"HX-Trigger": trigger})
