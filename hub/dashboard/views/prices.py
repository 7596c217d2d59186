"""What a million tokens cost: seen by whoever sees use, set by whoever keeps the hub."""

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from accounts import limit_rows, model_names, prices, usage
from accounts.limit_rows import NobodyThere
from accounts.models import Price
from accounts.prices import PriceRefused
from accounts.principals import Principal
from hub.dashboard import guards, pages, units
from inference import catalog
from inference.models import Model

if TYPE_CHECKING:
    from django.db.models import QuerySet

READ, WRITE = "usage:read", "admin:system"
TEXT_CHARS = 24


@require_safe
@guards.needs(READ)
def listing(request: HttpRequest) -> HttpResponse:
    """Show what has a price; `?model=` puts one into the form."""
    who = guards.principal(request)
    row = _seen(who).filter(model=request.GET.get("model", "")).first()
    given = {kind: units.price(getattr(row, kind)) for kind in prices.KINDS} if row else {}
    if row:
        given["model"] = row.model
    return _page(request, who, given)


@require_POST
@guards.needs(WRITE)
def save(request: HttpRequest) -> HttpResponse:
    """Keep the price of the form, or say on it what is wrong."""
    who = guards.principal(request)
    name = request.POST.get("model", "")
    try:
        limit_rows.about(who, "model", name)
        prices.put(name, _values(request))
    except NobodyThere:
        return _page(request, who, request.POST.dict(), "model", status=400)
    except PriceRefused as error:
        models = ", ".join(model_names.leads_to(name)) if error.field == "model" else ""
        return _page(request, who, request.POST.dict(), error.field, models, status=400)
    messages.success(request, _("The price of %(name)s holds from now on.") % {"name": name})
    return redirect("prices")


@require_POST
@guards.needs(WRITE)
def drop(request: HttpRequest, name: str) -> HttpResponse:
    """Let a model cost nothing from now on."""
    if not _seen(guards.principal(request)).filter(model=name).exists() or not prices.drop(name):
        raise Http404
    messages.success(request, _("%(name)s costs nothing from now on.") % {"name": name})
    return redirect("prices")


def _page(
    request: HttpRequest,
    who: Principal,
    given: dict[str, str],
    wrong: str = "",
    leads_to: str = "",
    status: int = 200,
) -> HttpResponse:
    own = {*Model.objects.values_list("name", flat=True)}  # another name has no price of its own
    context = {
        "prices": _seen(who).order_by("model"),
        "names": [name for name in sorted(catalog.every_name(who)) if name in own],
        "may_change": who.allows(WRITE),
        "currency": settings.HUB_CURRENCY,
        "given": given,
        "wrong": wrong,
        "leads_to": leads_to,
    }
    return pages.show(request, "pages/prices.html", _("Prices"), context=context, status=status)


def _seen(who: Principal) -> "QuerySet[Price]":
    return Price.objects.exclude(model__in=usage.hidden(who))


def _values(request: HttpRequest) -> dict[str, Decimal]:
    """Read the form; cached tokens cost what others do, unless it says otherwise. Raises: PriceRefused."""
    found = {kind: _number(request.POST.get(kind, ""), kind) for kind in ("prompt", "completion")}
    cached = request.POST.get("cached", "").strip()
    return {**found, "cached": _number(cached, "cached") if cached else found["prompt"]}


def _number(text: str, kind: str) -> Decimal:
    try:
        value = Decimal(text.strip().replace(",", ".")[:TEXT_CHARS])
    except InvalidOperation:
        raise PriceRefused(_("A price is a number, such as 0.15."), kind) from None
    if value.is_finite() and value != round(value, 6):
        raise PriceRefused(_("A price has six decimals at most."), kind)
    return value
