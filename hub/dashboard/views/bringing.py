"""Bringing data: a new data set or a new version of one, from uploaded files or from text."""

from contextlib import suppress
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from hub.dashboard import guards, pages
from hub.dashboard.views import datasets
from hub.dashboard.views.saying import said
from inference.errors import HubError, InvalidValue, MissingParameter, PermissionDenied
from inference.openai import files as protocol
from inference.openai import uploads
from training import bases, files, sets, store
from training.models import DataSet, DataSetVersion, File

MAX_TEXT_CHARS = 1_000_000
PASTED = "pasted.jsonl"
SHARES = (0, 5, 10, 20)  # per cent of rows that may be held out
USUAL_SHARE = 10
USUAL_LENGTH = 2_048


@require_http_methods(["GET", "HEAD", "POST"])
@guards.needs(datasets.WRITE)
def new(request: HttpRequest) -> HttpResponse:
    """Show the form, or make a data set of what was brought."""
    return _shown(request, None)


@require_http_methods(["GET", "HEAD", "POST"])
@guards.needs(datasets.WRITE)
def new_version(request: HttpRequest, key: str) -> HttpResponse:
    """The same for one more version of a data set."""
    return _shown(request, datasets.named(request, key))


def _shown(request: HttpRequest, data_set: DataSet | None) -> HttpResponse:
    if request.method != "POST":
        return _form(request, data_set)
    try:
        version = _made(request, data_set)
    except (HubError, OSError) as error:
        return _form(request, data_set, said(error), 400)
    return redirect("dataset_version", version.data_set_id, version.number)


def _made(request: HttpRequest, data_set: DataSet | None) -> DataSetVersion:
    """Text becomes a file first, and goes again where it is refused. Raises: HubError, OSError."""
    pasted = None if request.POST.get("file_id") else _pasted(request)
    try:
        wanted = _wanted(request, pasted.pk if pasted else request.POST["file_id"])
        return _added(request, data_set, wanted)
    except BaseException:
        if pasted is not None:
            with suppress(HubError):
                files.remove(pasted.pk, guards.principal(request))
        raise


def _added(request: HttpRequest, data_set: DataSet | None, wanted: sets.Wanted) -> DataSetVersion:
    """Raises: HubError."""
    who, given = guards.principal(request), request.POST
    if data_set is not None:
        return sets.add_version(who, data_set, wanted)
    about = given.get("description", "").strip()[:4_000]
    return sets.create(who, given.get("name", "").strip(), wanted, description=about)


def _wanted(request: HttpRequest, file_id: str) -> sets.Wanted:
    """Raises: InvalidValue."""
    given = request.POST
    held = given.get("validation_file_id", "")
    return sets.Wanted(
        file_id=file_id,
        validation_file_id=held,
        held_out=0.0 if held else _whole(given.get("held_out") or "0", "held_out") / 100,
        leaves_out=given.get("leaves_out") == "yes",
        base=given.get("base", ""),
        max_length=_whole(given.get("max_length") or str(USUAL_LENGTH), "max_length"),
    )


def _whole(text: str, name: str) -> int:
    """Raises: InvalidValue."""
    if not text.isdecimal() or len(text) > 9:
        raise InvalidValue(_("“%(name)s” must be a whole number.") % {"name": name}, param=name)
    return int(text)


def _pasted(request: HttpRequest) -> File:
    """Raises: MissingParameter, InvalidValue, PermissionDenied, RateLimited, OSError."""
    text, who = request.POST.get("text", ""), guards.principal(request)
    if not text.strip():
        raise MissingParameter(_("Choose a file, or paste the rows."), param="file_id")
    if len(text) > MAX_TEXT_CHARS:
        raise InvalidValue(_("This is too much to paste: upload it as a file."), param="text")
    if not who.allows("files:write"):
        raise PermissionDenied(_("Text becomes a file: this needs the right files:write."))
    with store.Incoming() as incoming:
        incoming.write(text.replace("\r\n", "\n").encode())
        return files.take(incoming, who, protocol.file_name(PASTED), "fine-tune")


def _form(
    request: HttpRequest, data_set: DataSet | None, problem: str = "", status: int = 200
) -> HttpResponse:
    given, who = request.POST, guards.principal(request)
    last = data_set.versions.first() if data_set else None
    context: dict[str, Any] = {
        "data_set": data_set,
        "problem": problem,
        "given": given,
        "brought": _brought(request),
        "bases": bases.names(who),
        "base": given.get("base", last.base if last else ""),
        "shares": SHARES,
        "share": given.get("held_out", str(USUAL_SHARE)),
        "max_length": given.get("max_length", last.max_length if last else USUAL_LENGTH),
        "most_bytes": uploads.MAX_UPLOAD_BYTES,
    }
    title = _("New version") if data_set else _("New data set")
    return pages.show(request, "pages/dataset_new.html", title, context=context, status=status)


def _brought(request: HttpRequest) -> dict[str, File]:
    """Give the files that are here already, by their field of the form."""
    found = {}
    for name in ("file_id", "validation_file_id"):
        with suppress(HubError):
            found[name] = files.find(request.POST.get(name, ""), guards.principal(request))
    return found
