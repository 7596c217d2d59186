"""Use and limits on other pages: the sparkline of a key, one's own use, the form of somebody's limits."""

from collections.abc import Iterable
from typing import Any

from django import template
from django.template.context import Context

from accounts import limit_rows, usage
from accounts.limit_rows import NobodyThere
from accounts.models import ApiKey
from hub.dashboard import limits_form
from hub.dashboard.usage_page import UsagePage

register = template.Library()
DAYS = 14


@register.simple_tag
def uses_of_keys(keys: Iterable[ApiKey]) -> dict[str, list[int]]:
    """Give the requests of these keys by day, in one query."""
    return usage.of_keys([key.public_id for key in keys], DAYS)


@register.inclusion_tag("parts/key_use.html")
def key_use(uses: dict[str, list[int]], key: ApiKey) -> dict[str, Any]:
    values = uses.get(key.public_id, [])
    return {"key": key, "values": values, "total": sum(values)}


@register.inclusion_tag("parts/own_usage.html", takes_context=True)
def own_usage(context: Context) -> dict[str, Any]:
    """Show what one has used in 30 days, to whoever may see it."""
    who = context["who"]
    page = UsagePage(who, {"range": "30", "whose": "own"})
    return {"usage": page, "shown": who.allows("usage:read")}


@register.inclusion_tag("parts/limits_card.html", takes_context=True)
def limits_card(context: Context, kind: str, name: str) -> dict[str, Any]:
    """Place the form of the limits of one key, person, team or model, for who may edit them."""
    request, who = context["request"], context["who"]
    shared = {"request": request, "csrf_token": context.get("csrf_token"), "limits": None}
    if not limit_rows.may_edit(who):
        return shared
    try:
        return shared | {"limits": limits_form.of(limit_rows.about(who, kind, name))}
    except NobodyThere:
        return shared
