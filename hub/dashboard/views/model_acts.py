"""What a click does to a model: load, unload, pin, try again, cancel, remove."""

import asyncio
import json
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from accounts.principals import Principal
from hub.dashboard import guards, pages
from inference import catalog, changes, entries, operations
from inference.errors import HubError, NotFound

log = logging.getLogger(__name__)
PATIENCE_S = 1.0
_acts: set[asyncio.Task[Any]] = set()  # a task that nobody holds may vanish


@require_POST
async def load(request: HttpRequest, name: str) -> HttpResponse:
    """Start loading; the page shows progress and, if so, the failure."""
    who = await _check(request, name)
    try:
        resolved = await catalog.resolve(name, who)
    except NotFound as error:
        raise Http404 from error
    except HubError as error:
        return _answer(request, pages.failure_text(error), "bad")
    doing = _("Loading %(name)s.") % {"name": resolved.model}
    done = _("%(name)s is loaded.") % {"name": resolved.model}
    return await _act(request, operations.load(resolved.spec, who), doing, done)


@require_POST
async def unload(request: HttpRequest, name: str) -> HttpResponse:
    """Let running requests end, then give the memory back."""
    await _check(request, name)
    doing = _("Unloading %(name)s; running requests end first.") % {"name": name}
    done = _("%(name)s is unloaded.") % {"name": name}
    return await _act(request, operations.unload(name), doing, done)


@require_POST
@guards.needs("models:write")
def pin(request: HttpRequest, name: str) -> HttpResponse:
    """Keep a loaded model in memory, or let it go like the others."""
    row = guards.model(request, name, "models:write")
    pinned = request.POST.get("pinned") == "yes"
    wanted = changes.Change(settings={"pinned": pinned or None})
    text = _("%(name)s stays in memory once it is loaded.") if pinned else _("%(name)s may leave.")
    return _try(request, lambda: operations.change(row, wanted), text, name)


@require_POST
@guards.needs("models:write")
def retry(request: HttpRequest, name: str) -> HttpResponse:
    """Bring the files of a failed model once more."""
    row = guards.model(request, name, "models:write")
    return _try(request, lambda: operations.retry(row), _("%(name)s is tried again."), name)


@require_POST
@guards.needs("models:write")
def verify(request: HttpRequest, name: str) -> HttpResponse:
    """Let its files be hashed again; the page shows what came of it."""
    row = guards.model(request, name, "models:write")
    text = _("The files of %(name)s are being hashed again.")
    return _try(request, lambda: operations.verify(row), text, name)


@require_POST
@guards.needs("models:write")
def cancel(request: HttpRequest, name: str) -> HttpResponse:
    """End an arrival; what came is kept until the model is removed."""
    row = guards.model(request, name, "models:write")
    return _try(request, lambda: entries.cancel(row), _("Adding %(name)s was stopped."), name)


@require_POST
@guards.needs("models:write")
def remove(request: HttpRequest, name: str) -> HttpResponse:
    """Take it out of the catalog with the names that lead to it: the page has said so."""
    row = guards.model(request, name, "models:write")
    try:
        running = operations.remove(row, force=True)
    except HubError as error:
        return _answer(request, pages.failure_text(error), "bad")
    text = _("%(name)s is removed.")
    if running:
        text = _("%(name)s is removed; what is being answered ends first.")
    return _answer(request, text % {"name": name}, "good")


def _try(request: HttpRequest, act: Callable[[], object], text: str, name: str) -> HttpResponse:
    try:
        act()
    except HubError as error:
        return _answer(request, pages.failure_text(error), "bad")
    return _answer(request, text % {"name": name}, "good")


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


@sync_to_async
def _check(request: HttpRequest, name: str) -> Principal:
    """A refusal is written to the audit log: all of it happens in a thread."""
    who = guards.principal(request)
    guards.check(who, "models:load")
    guards.model(request, name, "models:load")
    return who


def _answer(request: HttpRequest, text: str, tone: str) -> HttpResponse:
    """Give htmx a toast; a plain form leads to the catalog, which says the same."""
    if request.headers.get("HX-Request") != "true":
        (messages.success if tone == "good" else messages.error)(request, text)
        return redirect("models")
    trigger = json.dumps({"hub-toast": {"text": text, "tone": tone}})
    return HttpResponse(status=204, headers={"HX-Trigger": trigger})
