"""Adding a model in the browser: what it would be and whether it fits is said before anything comes."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib import messages
from django.core.files.uploadedfile import UploadedFile
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_POST

from accounts.principals import Principal
from hub.dashboard import guards, pages, watcher
from hub.dashboard.views import finding
from hub.dashboard.views.saying import said
from inference import (
    entries,
    operations,
    owners,
    places,
    preview,
    sight,
    uploads,
    upstreams,
    wire,
)
from inference.downloads import DownloadFailed
from inference.errors import Conflict, HubError, InvalidValue, ModelNotFound
from inference.models import Model, Upload
from inference.openai import bounded_json
from inference.preview import Head, Preview

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

MAX_BASES = 200
SHRINKING = (
    ("", gettext_lazy("as they come")),
    ("int8", gettext_lazy("8 bits")),
    ("nf4", gettext_lazy("4 bits")),
)
MAX_FOUND = 200


@dataclass(frozen=True, slots=True)
class Way:
    """One way for a model to come in; `source` is the API's word for it."""

    key: str
    source: str
    title: "_StrPromise"
    icon: str


WAYS = (
    Way("hub", "huggingface", gettext_lazy("Model hub"), "download"),
    Way("folder", "local", gettext_lazy("Folder of this machine"), "folder"),
    Way("upload", "upload", gettext_lazy("Upload"), "upload"),
    Way("server", "remote", gettext_lazy("Another server"), "cloud"),
)


@require_http_methods(["GET", "HEAD", "POST"])
@guards.needs("models:write")
def add(request: HttpRequest, source: str) -> HttpResponse:
    """Show a way's form; look at what is named there, or add it."""
    way = next((way for way in WAYS if way.key == source), None)
    if way is None:
        raise Http404
    if request.method != "POST":
        return _page(request, way)
    try:
        if request.POST.get("act") == "add" and way.source != "upload":
            return _added(request, way)
        return _page(request, way, {"preview": _looked(request, way)})
    except (HubError, DownloadFailed, OSError) as error:
        return _page(request, way, {"problem": said(error)}, status=400)


def _added(request: HttpRequest, way: Way) -> HttpResponse:
    """Raises: HubError."""
    wanted = _wanted(request, way)
    if way.source == "remote" and request.POST.get("unchecked") != "yes":
        upstreams.check(wanted.base_url, wanted.api_key, wanted.upstream_model)
    if wanted.base:
        _check_base(request, wanted.base)
    owner = owners.place(guards.principal(request))
    wanted.team_id, wanted.visibility = owner.team_id, owner.visibility
    row = operations.add(wanted)
    text = _("%(name)s is being added.") if row.is_arriving else _("%(name)s is added.")
    messages.success(request, text % {"name": row.name})
    return redirect("model", row.name)


def _check_base(request: HttpRequest, name: str) -> None:
    """A base that is not there for this person is none. Raises: ModelNotFound."""
    if not sight.models(guards.principal(request)).filter(name=name).exists():
        raise ModelNotFound(f"there is no model `{name[:128]}`", param="base")


def _wanted(request: HttpRequest, way: Way) -> entries.Wanted:
    given = {name: request.POST.get(name, "").strip() for name in FIELDS}
    base = given["base"]
    return entries.Wanted(
        source="adapter" if way.source == "local" and base else way.source,
        name=given["name"] or _usual_name(given),
        model_id=given["model_id"],
        revision=given["revision"] or "main",
        files=given["files"].split(),
        path=given["path"],
        copy=way.source == "local" and _copies(request),
        base=base,
        base_url=given["base_url"],
        upstream_model=given["upstream_model"],
        api_key=given["api_key"],
        kind=given["kind"] or "llm",
        settings=_settings(given),
    )


def _copies(request: HttpRequest) -> bool:
    return request.POST.get("copy") == "yes"


def _settings(given: dict[str, str]) -> dict[str, Any]:
    """Smaller weights, where the preview offered them."""
    return {"options": {"quantization": given["quantization"]}} if given["quantization"] else {}


FIELDS = (
    "name", "model_id", "revision", "files", "path", "base", "base_url", "upstream_model",
    "api_key", "kind", "quantization",
)  # fmt: skip


def _usual_name(given: dict[str, str]) -> str:
    """Give the name that a model gets when nobody chose one: its own, without what names refuse."""
    own = given["model_id"] or given["upstream_model"] or Path(given["path"]).stem
    last = own.rstrip("/").rpartition("/")[2]
    return "".join(c for c in last if c.isascii() and (c.isalnum() or c in "._:@+-")).lstrip(
        "._:@+-"
    )


def _looked(request: HttpRequest, way: Way) -> Preview:
    """Raises: HubError, DownloadFailed, OSError."""
    wanted, state = _wanted(request, way), _state(request)
    _check_free(wanted.name, way.source)
    if wanted.base:
        _check_base(request, wanted.base)
    if way.source == "huggingface":
        entries.SOURCES["huggingface"](wanted)  # its checks of id, revision and base
        return preview.of_hub(wanted.model_id, wanted.revision, wanted.files, state)
    if way.source == "local":
        return preview.of_place(places.allowed(wanted.path), state)
    raise InvalidValue(_("There is nothing to look at here."))


def _check_free(name: str, source: str) -> None:
    """Raises: InvalidValue, Conflict."""
    entries.check_name(name)
    others = Model.objects.filter(name=name).exclude(source=source, state__in=entries.RESTARTABLE)
    if others.exists():
        raise Conflict(f"there is a model named `{name}` already", param="name")


@require_POST
@guards.needs("models:write")
def look(request: HttpRequest) -> HttpResponse:
    """Judge what a browser is about to upload: the names and sizes, and the first bytes of some."""
    try:
        found = preview.of_heads(_heads(request), _state(request))
    except (HubError, OSError) as error:
        return render(request, "parts/preview.html", {"problem": said(error)})
    return render(request, "parts/preview.html", _judged(found, comes=True))


def _heads(request: HttpRequest) -> list[Head]:
    """Cut the one blob into the files' beginnings. Raises: InvalidValue."""
    blob = request.FILES.get("heads")
    data = blob.read() if isinstance(blob, UploadedFile) else b""
    heads, at = [], 0
    for path, size, length in _lines(request.POST.get("files", "")):
        heads.append(Head(path, size, data[at : at + length]))
        at += length
    return heads


def _pairs(text: str) -> Any:
    return bounded_json.parse(text.encode(errors="replace"))


def _lines(text: str) -> list[tuple[str, int, int]]:
    """Raises: InvalidValue."""
    try:
        lines = [(path, size, length) for path, size, length in _pairs(text)]
        fine = all(
            isinstance(path, str) and type(size) is int and type(length) is int
            and 0 < size <= uploads.MAX_FILE_BYTES and 0 <= length <= size
            for path, size, length in lines
        )  # fmt: skip
    except (ValueError, TypeError, HubError):
        fine, lines = False, []
    if not fine or not 0 < len(lines) <= uploads.MAX_FILES:
        raise InvalidValue(f"an upload has 1 to {uploads.MAX_FILES} different files")
    return lines


# --- what the page shows ----------------------------------------------------------------------------


def _page(
    request: HttpRequest, way: Way, more: dict[str, Any] | None = None, status: int = 200
) -> HttpResponse:
    found: Preview | None = (more or {}).get("preview")
    context: dict[str, Any] = {
        "way": way,
        "ways": WAYS,
        "given": request.POST,
        "copies": _copies(request),  # a template would take `given.copy` for the dict's method
        "bases": _bases(guards.principal(request)),
        "usual_name": _wanted(request, way).name,
        **_of_way(request, way),
        **(more or {}),
        **(_judged(found, comes=way.key != "folder" or _copies(request)) if found else {}),
        "may_shrink": way.key in {"hub", "folder"},
        "shrinking": SHRINKING,
    }
    title = _("Add a model")
    return pages.show(request, "pages/model_add.html", title, context=context, status=status)


def _of_way(request: HttpRequest, way: Way) -> dict[str, Any]:
    if way.key == "folder":
        return {"roots": [str(root) for root in places.import_roots()], "places": _found_places()}
    if way.key == "hub":
        return {"endpoint": settings.HUB_HF_ENDPOINT, **finding.found(request)}
    if way.key == "upload":
        mine = Upload.objects.filter(owner_id=guards.person(request).pk).select_related("model")
        return {
            "part_bytes": uploads.PART_BYTES,
            "taken": uploads.TAKEN.pattern,
            "unfinished": [upload for upload in mine if upload.model.state in uploads.GOES_ON],
        }
    return {"kinds": entries.REMOTE_KINDS}


def _bases(who: Principal) -> list[str]:
    rows = sight.models(who).filter(
        engine="llm_transformers", base=None, state=Model.State.AVAILABLE
    )
    return [*rows.order_by("name").values_list("name", flat=True)[:MAX_BASES]]


def _found_places() -> list[str]:
    """Name the folders and files right under the import roots, as an offer."""
    found: list[str] = []
    for root in places.import_roots():
        if root.is_dir():
            found += [str(path) for path in sorted(root.iterdir()) if not path.name.startswith(".")]
    return found[:MAX_FOUND]


def _judged(found: Preview, *, comes: bool) -> dict[str, Any]:
    """Files that stay where they are (`comes` is false) need no room on the disk."""
    room = shutil.disk_usage(settings.HUB_DATA).free
    has_room = not comes or found.size_bytes + places.SPARE_BYTES <= room
    return {"preview": found, "disk_free": room, "has_room": has_room}


def _state(request: HttpRequest) -> wire.Snapshot | None:
    return sight.snapshot(watcher.current_now().snapshot, guards.principal(request))
