"""Which models and names are there for somebody. Every list and lookup of rows begins here."""

from typing import TypeVar

import msgspec

from accounts.principals import Principal
from inference import catalog, veil, wire
from inference.models import Alias, Aliases, Model, Models

T = TypeVar("T", bound=wire.Snapshot | None)


def models(who: Principal) -> Models:
    """Models of their teams and of the whole hub, as far as key and team policy let them."""
    rows = Model.objects.visible_to(who)
    return rows.exclude(name__in=catalog.hidden_now(who)) if who.is_limited else rows


def aliases(who: Principal) -> Aliases:
    """Names likewise; one that a limited key does not name is not there, though it may lead on."""
    rows = Alias.objects.visible_to(who)
    for allowed in (who.models, who.team_models):
        if allowed is not None:
            rows = rows.filter(name__in=allowed)
    return rows


def snapshot(told: T, who: Principal) -> T:
    """Give what the node says without the names that are not there for somebody.

    What a training is called is its team's; its memory is there for all.
    """
    if told is None:
        return told
    veiled = veil.veiled(told, catalog.hidden_among(_names(told), who))
    if who.sees_all and not who.is_limited:
        return veiled
    nameless = [msgspec.structs.replace(one, label="") for one in told.reservations]
    return msgspec.structs.replace(veiled, reservations=nameless)


def _names(told: wire.Snapshot) -> set[str]:
    lists = (told.decisions, told.queue)
    names = {one.name for one in told.models} | {one.model for rows in lists for one in rows}
    return {name for name in names if not name.startswith(wire.TRAINING)}
