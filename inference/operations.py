"""What an operator does to a model, in its row and in the node at once.

Called by the management API and the dashboard. A node that is away hears of it with the next request.
"""

import logging

from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from django.db import transaction

from accounts import audit
from accounts.principals import Principal
from inference import catalog, changes, entries, router, specs, tasks, trail, veil, verifying, wire
from inference.errors import HubError
from inference.models import Model

log = logging.getLogger(__name__)


async def load(
    spec: wire.ModelSpec, who: Principal, deadline_s: float = router.DEADLINE_S
) -> wire.Loaded:
    """Load a model because somebody wishes it. Raises: HubError that names only what they may see."""
    await _recorded("model.load", spec.name)
    try:
        return await router.load(spec, deadline_s=deadline_s)
    except HubError as error:
        await _recorded("model.load", spec.name, error)
        raise veil.told(error, catalog.hidden(who)) from error


async def unload(name: str, *, force: bool = False) -> None:
    """Unload a model because somebody wishes it. Raises: HubError."""
    await _recorded("model.unload", name)
    try:
        await router.unload(name, force=force)
    except HubError as error:
        await _recorded("model.unload", name, error)
        raise


@database_sync_to_async  # type: ignore[untyped-decorator]
def _recorded(action: str, name: str, error: HubError | None = None) -> None:
    """Say it before it is done: a client that leaves meanwhile has asked all the same."""
    if error is None:
        audit.record(action, "model", name)
    else:
        reason = {"reason": error.message}
        audit.record(action, "model", name, after=reason, outcome=audit.Outcome.FAILED)


def add(wanted: entries.Wanted) -> Model:
    """Make the row, and let the worker bring the files. Raises: HubError, as `entries.add`."""
    row = entries.add(wanted)
    if row.is_arriving:
        tasks.enqueue_arrival(row.pk)
    return row


def retry(row: Model) -> Model:
    """Bring a model whose arrival failed or was cancelled; what is there already is kept.

    Raises: Conflict.
    """
    if row.source == "starter":
        tasks.enqueue_preparations()
        row.refresh_from_db()
        return row
    row = entries.restart(row)
    tasks.enqueue_arrival(row.pk)
    return row


def verify(row: Model) -> None:
    """Let the worker hash its files again. Raises: Conflict; connections.Away while Redis is."""
    verifying.check(row)
    with transaction.atomic():
        trail.model("verify", row)
        tasks.verify_model.send(row.pk)


def change(row: Model, wanted: changes.Change) -> Model:
    """Set what it is served with; pin, priority, idle time and queue hold at once.

    Raises: UnknownParameter, InvalidValue, Conflict.
    """
    row = changes.change(row, wanted)
    revise(row)
    return row


def revise(row: Model) -> None:
    """Tell the node of a change that was made."""
    if row.state == Model.State.AVAILABLE:
        try:
            async_to_sync(router.revise)(specs.of(row))
        except HubError as error:
            log.info("not revised", extra={"model": row.name, "reason": error.message})


def remove(row: Model, *, force: bool = False) -> int:
    """Take it out of the catalog; give how many requests are still answered before it is unloaded.

    Raises: Conflict.
    """
    name, base = row.name, row.base.name if row.base is not None and row.is_attached else ""
    entries.remove(row, force=force)
    try:
        if base:  # which serves on
            async_to_sync(router.detach)(base, name)
            return 0
        return async_to_sync(_forgotten)(name)
    except HubError as error:
        log.info("nothing to unload", extra={"model": name, "reason": error.message})
        return 0


async def _forgotten(name: str) -> int:
    await router.forget(name)
    there = [one for one in (await router.snapshot()).models if one.name == name]
    return sum(one.running for one in there)
