"""What an operator does to a model, in its row and in the node at once.

Called by the management API and the dashboard. A node that is away hears of it with the next request.
"""

import logging
from typing import Any

from asgiref.sync import async_to_sync

from inference import catalog, entries, router, tasks
from inference.errors import HubError
from inference.models import Model

log = logging.getLogger(__name__)


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


def change(
    row: Model, patch: dict[str, Any], tags: list[str] | None = None, api_key: str | None = None
) -> Model:
    """Set what it is served with; pin, priority, idle time and queue hold at once.

    Raises: UnknownParameter, InvalidValue.
    """
    row = entries.change(row, patch, tags, api_key)
    if row.state == Model.State.AVAILABLE:
        try:
            async_to_sync(router.revise)(catalog.spec_of(row))
        except HubError as error:
            log.info("not revised", extra={"model": row.name, "reason": error.message})
    return row


def remove(row: Model, *, force: bool = False) -> None:
    """Take it out of the catalog and unload it; what is being answered is finished first.

    Raises: Conflict.
    """
    entries.remove(row, force=force)
    if row.is_attached:
        return  # its base serves on; what nobody asks for leaves by itself
    try:
        async_to_sync(router.unload)(row.name)
    except HubError as error:
        log.info("nothing to unload", extra={"model": row.name, "reason": error.message})
