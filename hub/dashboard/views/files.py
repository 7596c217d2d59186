"""Files: what was uploaded for trainings and what came of them; listed, given out and removed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST, require_safe

from accounts import quotas
from accounts.principals import Principal
from hub.dashboard import guards, pages
from hub.dashboard.views.saying import said
from inference.errors import HubError, NotFound
from training import files as room
from training.models import File

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

READ, WRITE = "files:read", "files:write"
PAGE_ROWS = 50
MAX_SEARCH_CHARS = 128
PURPOSES: "dict[str, _StrPromise]" = {
    "fine-tune": gettext_lazy("data to train on"),
    "fine-tune-results": gettext_lazy("figures of a training"),
    "batch": gettext_lazy("requests of a batch"),
    "user_data": gettext_lazy("data of a user"),
    "evals": gettext_lazy("data to evaluate by"),
}


@dataclass(frozen=True, slots=True)
class Line:
    """A file in the list."""

    row: File
    purpose: str
    may_remove: bool


@require_safe
@guards.needs(READ)
def files(request: HttpRequest) -> HttpResponse:
    """List what this person may see, the newest first."""
    who, search = guards.principal(request), request.GET.get("q", "").strip()[:MAX_SEARCH_CHARS]
    rows = File.objects.there().visible_to(who)
    found = rows.filter(filename__icontains=search) if search else rows
    found = found.select_related("team", "owner").order_by("-created_at", "-id")
    page = Paginator(found, PAGE_ROWS).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "lines": [_line(row, who) for row in page],
        "search": search,
        "total_bytes": rows.aggregate(total=Sum("size_bytes"))["total"] or 0,
        "limits": [one for one in quotas.standing(who, room.STORAGE) if one.limit],
    }
    return pages.show(request, "pages/files.html", _("Files"), context=context)


def _line(row: File, who: Principal) -> Line:
    purpose = str(PURPOSES.get(row.purpose, row.purpose))
    return Line(row, purpose, who.allows_in(WRITE, row.ownership[0]))


@require_POST
@guards.needs(WRITE)
def remove(request: HttpRequest, key: str) -> HttpResponse:
    """Take it away; data sets that were made of it keep their rows."""
    try:
        row = room.remove(key, guards.principal(request))
    except NotFound as error:
        raise Http404 from error
    except HubError as error:
        messages.error(request, said(error))
    else:
        messages.success(request, _("The file %(name)s is removed.") % {"name": row.filename})
    return redirect("files")
