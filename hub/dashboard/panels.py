"""Panels: one fragment template each, for the page, for htmx and for the websocket push."""

from dataclasses import dataclass

from django.template.loader import render_to_string
from django.utils import translation
from django.utils.safestring import SafeString, mark_safe

from accounts.principals import Principal
from hub.dashboard.board import Board


@dataclass(frozen=True, slots=True)
class Panel:
    name: str
    scope: str  # who may see it

    @property
    def template(self) -> str:
        return f"panels/{self.name}.html"


PANELS = {
    panel.name: panel
    for panel in (
        Panel("summary", "status:read"),
        Panel("figures", "status:read"),
        Panel("memory", "status:read"),
        Panel("activity", "status:read"),
        Panel("traffic", "status:read"),
        Panel("decisions", "status:read"),
        Panel("models", "models:read"),
        Panel("starters", "models:manage"),
    )
}


def allowed(names: list[str], who: Principal) -> list[Panel]:
    """Give the panels of these names that this person may see; others are left out."""
    return [panel for name in names if (panel := PANELS.get(name)) and who.allows(panel.scope)]


def render(panel: Panel, board: Board, who: Principal) -> SafeString:
    """Give the inside of a panel in the active language."""
    return SafeString(render_to_string(panel.template, {"board": board, "who": who}))


def render_push(panel: Panel, board: Board, who: Principal, language: str) -> str:
    """Give the panel as a fragment that finds its own place in the page."""
    with translation.override(language):
        inside = render(panel, board, who)
    wrapper = f'<div id="panel-{panel.name}" hx-swap-oob="morph:innerHTML">{inside}</div>'
    return mark_safe(wrapper)  # noqa: S308 - the name is ours, the inside was escaped
