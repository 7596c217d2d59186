"""Whether models that are not loaded would fit now: asked of the node, kept while nothing changes there.

Called by the catalog and the model's page.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from asgiref.sync import async_to_sync
from django.utils.translation import gettext as _

from accounts.principals import Principal
from hub.dashboard.rows import ModelRow
from inference import catalog, router, specs, veil, wire
from inference.errors import HubError, NodeUnavailable
from inference.models import Model

log = logging.getLogger(__name__)

AT_ONCE = 4
KEPT = 2000


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the node said; without a plan, why it could not say more."""

    plan: wire.Planned | None
    problem: str = ""

    @property
    def key(self) -> str:
        return self.plan.verdict if self.plan else "unknown"

    @property
    def others(self) -> str:
        return ", ".join(victim.name for victim in self.plan.victims) if self.plan else ""

    @property
    def words(self) -> str:
        """Say it in a few words, for a line of a table."""
        sentences = {
            "fits": _("fits now"),
            "fits_after_unloading": _("fits once %(others)s leaves"),
            "waits": _("would wait for room"),
            "does_not_fit": _("does not fit"),
        }
        return sentences.get(self.key, "") % {"others": self.others}

    @property
    def reason(self) -> str:
        return self.plan.reason if self.plan else self.problem


_kept: dict[tuple[str, str], Verdict] = {}
_situation: list[Any] = []  # of the node, when they were asked


def of(
    rows: Sequence[ModelRow], snapshot: wire.Snapshot | None, who: Principal
) -> dict[int, Verdict]:
    """Give the verdicts by the rows' numbers, for whoever looks; none while the node is away."""
    if snapshot is None:
        return {}
    _forget_if_changed(snapshot)
    specs = {row.model.pk: spec for row in rows if (spec := _spec(row))}
    missing = [spec for spec in specs.values() if (spec.name, spec.version) not in _kept]
    if missing:
        async_to_sync(_ask)(missing)
    found = {pk: _kept.get((spec.name, spec.version)) for pk, spec in specs.items()}
    hidden = catalog.hidden_now(who)
    return {pk: _veiled(verdict, hidden) for pk, verdict in found.items() if verdict}


def _veiled(verdict: Verdict, hidden: frozenset[str]) -> Verdict:
    return Verdict(veil.veiled(verdict.plan, hidden), veil.text(verdict.problem, hidden))


def _forget_if_changed(snapshot: wire.Snapshot) -> None:
    """A verdict depends on who is loaded, and on the room there is."""
    now: list[Any] = [
        (m.name, m.version, m.state, m.claim_bytes, m.pinned) for m in snapshot.models
    ]
    now += [(one.id, one.state, one.claim_bytes) for one in snapshot.reservations]
    now += [(device.name, device.limit_bytes) for device in snapshot.devices]
    if now != _situation or len(_kept) > KEPT:
        _situation[:] = now
        _kept.clear()


def _spec(row: ModelRow) -> wire.ModelSpec | None:
    if (
        row.state.key not in {"cold", "asleep", "failed"}
        or row.model.state != Model.State.AVAILABLE
    ):
        return None
    try:
        return specs.of(row.model)
    except (msgspec.ValidationError, HubError):
        return None


async def _ask(specs: list[wire.ModelSpec]) -> None:
    places = asyncio.Semaphore(AT_ONCE)
    await asyncio.gather(*(_ask_one(spec, places) for spec in specs))


async def _ask_one(spec: wire.ModelSpec, places: asyncio.Semaphore) -> None:
    async with places:
        try:
            _kept[spec.name, spec.version] = Verdict(await router.plan(spec))
        except NodeUnavailable as error:
            log.info("no verdict", extra={"model": spec.name, "reason": error.message})
        except HubError as error:
            _kept[spec.name, spec.version] = Verdict(None, error.message)
