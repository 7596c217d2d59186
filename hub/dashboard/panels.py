"""Panels: one fragment template each, for the page, for htmx and for the websocket push."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.template.loader import render_to_string
from django.utils import translation
from django.utils.safestring import SafeString

from accounts.principals import Principal
from hub.dashboard.board import Board


@dataclass(frozen=True, slots=True)
class Panel:
    name: str
    scope: str  # who may see it
    style: str = ""  # a class of its place in the page

    @property
    def template(self) -> str:
        return f"panels/{self.name}.html"


PANELS = {
    panel.name: panel
    for panel in (
        Panel("summary", "status:read", "stack"),
        Panel("figures", "status:read"),
        Panel("memory", "status:read"),
        Panel("held", "status:read"),
        Panel("activity", "status:read"),
        Panel("traffic", "status:read"),
        Panel("decisions", "status:read"),
        Panel("queue", "status:read"),
        Panel("rules", "status:read"),
        Panel("pulse", "models:read"),
        Panel("starters", "models:write"),
    )
}


def allowed(names: Sequence[str], who: Principal) -> list[Panel]:
    """Give the panels of these names that this person may see; others are left out."""
    return [panel for name in names if (panel := PANELS.get(name)) and who.allows(panel.scope)]


def render(panel: Panel, board: Board, who: Principal) -> SafeString:
    """Give the inside of a panel in the active language."""
    return SafeString(render_to_string(panel.template, {"board": board, "who": who}))


def render_place(panel: Panel, board: Board, who: Principal, *, push: bool = False) -> SafeString:
    """Give the panel with its place; a pushed one finds that place by itself."""
    context = {"panel": panel, "inside": render(panel, board, who), "push": push}
    return SafeString(render_to_string("parts/panel.html", context))


def render_push(panel: Panel, board: Board, who: Principal, language: str) -> str:
    with translation.override(language):
        return render_place(panel, board, who, push=True)
