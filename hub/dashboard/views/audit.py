"""Audit: who did what, with what changed, and whether the chain of the log is whole."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.http import urlencode
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts import audit as room
from accounts import exports, verdicts
from accounts.api.audit import SCOPE, file_of
from accounts.models import AuditRow, AuditRows
from hub.dashboard import audit_words, guards, pages

PAGE_ROWS = 50
TEXTS = ("who", "text")


@dataclass(frozen=True, slots=True)
class Change:
    """A field before and after; None where there was none."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class Line:
    row: AuditRow
    changes: list[Change]


@require_safe
@guards.needs(SCOPE)
def audit(request: HttpRequest) -> HttpResponse:
    """Search the log, newest first."""
    given = _given(request.GET)
    found = _found(given)
    page = Paginator(found, PAGE_ROWS).get_page(request.GET.get("page"))
    context: dict[str, Any] = {
        "page": page,
        "lines": [Line(row, _changes(row)) for row in page],
        "given": given,
        "query": urlencode(given),
        "families": audit_words.families(),
        "verdict": verdicts.latest(),
    }
    return pages.show(request, "pages/audit.html", _("Audit"), context=context)


@require_POST
@guards.needs(SCOPE)
def verify(request: HttpRequest) -> HttpResponse:
    """Walk the chain while the visitor waits."""
    found = verdicts.look()
    if found.whole:
        text = _("The chain is whole: %(rows)s rows were walked.") % {"rows": found.rows}
        messages.success(request, text)
    else:
        messages.error(request, _("The chain is broken at %(fault)s.") % {"fault": found.fault})
    return redirect("audit")


@require_safe
@guards.needs(SCOPE)
def export(request: HttpRequest, kind: str) -> HttpResponseBase:
    """Give what the search finds as a file."""
    if kind not in exports.FORMATS:
        return redirect("audit")
    room.record("audit.export", "audit", kind)
    return file_of(_found(_given(request.GET)), kind)


def _given(query: Mapping[str, Any]) -> dict[str, str]:
    """Keep what the form knows; what is not a day is left out."""
    texts = {
        name: str(query.get(name, "")).replace("\0", "").strip()[:150]
        for name in (*TEXTS, "action")
    }
    days = {name: str(query.get(name, "")) for name in ("since", "until")}
    return {name: text for name, text in texts.items() if text} | {
        name: text for name, text in days.items() if _day(text)
    }


def _found(given: Mapping[str, str]) -> AuditRows:
    until = _day(given.get("until", ""))
    return AuditRow.objects.search(
        **{name: given.get(name, "") for name in (*TEXTS, "action")},
        since=_day(given.get("since", "")),
        until=until + dt.timedelta(days=1) if until else None,
    )


def _day(text: str) -> dt.datetime | None:
    try:
        return dt.datetime.combine(dt.date.fromisoformat(text), dt.time(), dt.UTC)
    except ValueError:
        return None


def _changes(row: AuditRow) -> list[Change]:
    """Put before and after side by side."""
    before, after = row.before_values or {}, row.after_values or {}
    return [Change(name, _text(before, name), _text(after, name)) for name in {**before, **after}]


def _text(values: Mapping[str, Any], name: str) -> str | None:
    return audit_words.value(values[name]) if name in values else None
