"""Names and routes: which models answer to a name, with which shares, defaults and system prompt."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.principals import Principal
from hub.dashboard import guards, pages, states, watcher
from hub.dashboard.states import State
from inference import aliases as room
from inference import owners, sight, starters, wire
from inference.errors import HubError, InvalidValue, ModelNotFound
from inference.models import Alias
from inference.openai import bounded_json

PAGE_ROWS = 50
OFFERED = 50  # models, of those that a form's target may be
SHARES = (1, 5, 10, 25, 50, 75, 100)  # of the second target, per cent
BLANKS = 2  # lines for targets that the form offers beyond those there are
DEFAULTS = sorted({name for names in room.DEFAULTS.values() for name in names})


@dataclass(frozen=True, slots=True)
class Goal:
    """A target as a page shows it: its share, and how it does now."""

    model: str
    weight: float
    share: float  # per cent
    state: State
    status: wire.ModelStatus | None


@dataclass(frozen=True, slots=True)
class AliasRow:
    alias: Alias
    goals: tuple[Goal, ...]
    former: str  # what a roll-back brings back, in words

    @property
    def comes_back(self) -> bool:
        """Tell whether it is a starter's name, which the next start makes again."""
        return self.alias.name in starters.aliases(settings.HUB_MODEL_SIZE)


@require_safe
@guards.needs("models:read")
def aliases(request: HttpRequest) -> HttpResponse:
    search = request.GET.get("q", "").strip()[:128]
    wanted = Q(name__icontains=search) | Q(target__name__icontains=search)
    rows = sight.aliases(guards.principal(request)).select_related("target")
    found = rows.filter(wanted).order_by("name")
    page = Paginator(found, PAGE_ROWS).get_page(request.GET.get("page"))
    known = _known()
    context: dict[str, Any] = {
        "page": page,
        "search": search,
        "rows": [_row(alias, known) for alias in page],
        "mapped": settings.HUB_CONFIG.model_mapping,
    }
    return pages.show(request, "pages/aliases.html", _("Aliases"), context=context)


@require_safe
@guards.needs("models:write")
def targets(request: HttpRequest) -> HttpResponse:
    """Offer models for what was begun to be written."""
    begun = request.GET.get("model", "").strip()[:128]
    return render(
        request, "parts/alias_targets.html", {"models": _models(guards.principal(request), begun)}
    )


@require_http_methods(["GET", "HEAD", "POST"])
@guards.needs("models:write")
def new(request: HttpRequest) -> HttpResponse:
    if request.method != "POST":
        return _form(request, None)
    name = request.POST.get("name", "").strip()
    try:
        owner = asdict(owners.place(guards.principal(request)))
        room.create(name, _wanted(request), **owner)
    except HubError as error:
        return _form(request, None, error)
    messages.success(request, _("%(name)s answers from now on.") % {"name": name})
    return redirect("aliases")


@require_http_methods(["GET", "HEAD", "POST"])
@guards.needs("models:write")
def edit(request: HttpRequest, name: str) -> HttpResponse:
    alias = _named(request, name)
    if request.method != "POST":
        return _form(request, alias)
    try:
        wanted = _wanted(request)
        if wanted.targets == room.shown_targets(alias):
            wanted.targets = None  # or a roll-back would lead to the same
        room.change(alias, wanted)
    except HubError as error:
        return _form(request, alias, error)
    messages.success(
        request, _("%(name)s is changed, everywhere within two seconds.") % {"name": name}
    )
    return redirect("alias_edit", name)


@require_POST
@guards.needs("models:write")
def share(request: HttpRequest, name: str) -> HttpResponse:
    """Give the second of two targets its share of the requests."""
    alias, given = _named(request, name), request.POST.get("share", "")
    text = _("%(share)s %% of the requests for %(name)s go to its second target now.")
    said = text % {"share": given, "name": name}
    return _try(request, lambda: _share(alias, given), said, name)


def _share(alias: Alias, given: str) -> None:
    """Raises: InvalidValue, and what `aliases.change` raises."""
    targets = room.shown_targets(alias)
    if len(targets) != 2 or given not in {str(share) for share in SHARES}:
        raise InvalidValue("a share is for the second of two targets", param="share")
    weights = (100.0 - int(given), float(given))
    changed = [{**target, "weight": w} for target, w in zip(targets, weights, strict=True)]
    room.change(alias, room.Wanted(targets=changed))


@require_POST
@guards.needs("models:write")
def roll_back(request: HttpRequest, name: str) -> HttpResponse:
    alias = _named(request, name)
    text = _("%(name)s leads where it led before.") % {"name": name}
    return _try(request, lambda: room.roll_back(alias), text, name)


@require_POST
@guards.needs("models:write")
def remove(request: HttpRequest, name: str) -> HttpResponse:
    alias = _named(request, name)
    return _try(request, lambda: room.remove(alias), _("%(name)s is removed.") % {"name": name})


def _try(request: HttpRequest, act: Any, text: str, name: str = "") -> HttpResponse:
    """Do it, say so, and go back to where it was asked."""
    try:
        act()
    except HubError as error:
        messages.error(request, pages.failure_text(error))
    else:
        messages.success(request, text)
    on_page = name and request.POST.get("from") == "page"
    return redirect("alias_edit", name) if on_page else redirect("aliases")


def _named(request: HttpRequest, name: str) -> Alias:
    return guards.alias(request, name, "models:write")


# --- what a form says -------------------------------------------------------------------------------


def _wanted(request: HttpRequest) -> room.Wanted:
    """Raises: InvalidValue; ModelNotFound, also for a target that is not there for this person."""
    given = request.POST
    there = {*sight.models(guards.principal(request)).values_list("name", flat=True)}
    for name in given.getlist("model"):
        if name and name not in there:
            raise ModelNotFound(f"there is no model `{name[:128]}`", param="targets")
    pairs = zip(given.getlist("model"), given.getlist("weight"), strict=False)
    targets = [{"model": model, "weight": _weight(weight)} for model, weight in pairs if model]
    defaults = {name: _value(given[name]) for name in DEFAULTS if given.get(name, "").strip()}
    return room.Wanted(
        targets=targets,
        sticky=given.get("sticky") == "yes",
        defaults=defaults,
        system_prompt=given.get("system_prompt", "").strip(),
    )


def _weight(text: str) -> float:
    """Raises: InvalidValue."""
    try:
        weight = float(text.replace(",", ".") or 1)
    except ValueError:
        weight = -1.0
    if not 0 <= weight <= room.MAX_WEIGHT:
        raise InvalidValue(f"a weight is a number from 0 to {room.MAX_WEIGHT:.0f}", param="weight")
    return weight


def _value(text: str) -> Any:
    """Read a number, a list or a word; what it must be is said by the room."""
    try:
        return bounded_json.parse(text.encode(errors="replace"))
    except HubError:
        return text.strip()


# --- what a page shows ------------------------------------------------------------------------------


def _form(request: HttpRequest, alias: Alias | None, error: HubError | None = None) -> HttpResponse:
    row = _row(alias, _known()) if alias else None
    title = alias.name if alias else _("New alias")
    context: dict[str, Any] = {
        "row": row,
        "shares": SHARES,
        "models": _models(guards.principal(request)),
        "problem": pages.failure_text(error) if error else "",
        "form": _posted(request) if error else _kept(alias, row, request.GET.get("model", "")),
    }
    status = 400 if error else 200
    return pages.show(request, "pages/alias.html", title, context=context, status=status)


def _posted(request: HttpRequest) -> dict[str, Any]:
    """Give back what was written, as it was written."""
    given = request.POST
    pairs = [*zip(given.getlist("model"), given.getlist("weight"), strict=False)]
    return {
        "name": given.get("name", ""),
        "targets": [pair for pair in pairs if pair[0]] + [("", "")] * BLANKS,
        "sticky": given.get("sticky") == "yes",
        "system_prompt": given.get("system_prompt", ""),
        "defaults": [(name, given.get(name, "")) for name in DEFAULTS],
    }


def _kept(alias: Alias | None, row: AliasRow | None, asked: str) -> dict[str, Any]:
    """Fill in the alias, or the model that a new one is asked for."""
    kept = alias.defaults if alias else {}
    goals = [(goal.model, f"{goal.weight:g}") for goal in row.goals] if row else []
    goals = goals or ([(asked[:128], "")] if asked else [])
    texts = {name: v if isinstance(v, str) else json.dumps(v) for name, v in kept.items()}
    return {
        "name": alias.name if alias else "",
        "targets": goals + [("", "")] * BLANKS,
        "sticky": alias.sticky if alias else False,
        "system_prompt": alias.system_prompt if alias else "",
        "defaults": [(name, texts.get(name, "")) for name in DEFAULTS],
    }


def _models(who: Principal, begun: str = "") -> list[str]:
    found = sight.models(who).filter(name__icontains=begun).order_by("name")
    return [*found.values_list("name", flat=True)[:OFFERED]]


def _known() -> dict[str, wire.ModelStatus]:
    snapshot = watcher.current_now().snapshot
    return {model.name: model for model in (snapshot.models if snapshot else [])}


def _row(alias: Alias, known: dict[str, wire.ModelStatus]) -> AliasRow:
    targets = room.shown_targets(alias)
    total = sum(target["weight"] for target in targets) or 1.0
    goals = tuple(_goal(target, total, known) for target in targets)
    return AliasRow(alias, goals, _shares(alias.former))


def _goal(target: dict[str, Any], total: float, known: dict[str, wire.ModelStatus]) -> Goal:
    status = known.get(target["model"])
    state = states.of(status) if status else states.unloaded()
    weight = float(target["weight"])
    return Goal(target["model"], weight, 100 * weight / total, state, status)


def _shares(targets: list[dict[str, Any]]) -> str:
    total = sum(target["weight"] for target in targets) or 1.0
    return ", ".join(f"{t['model']} {100 * t['weight'] / total:.3g} %" for t in targets)
