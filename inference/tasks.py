"""Background work of inference, done by the Dramatiq worker; hub.broker is configured before."""

import contextlib
import logging
from typing import Any

import dramatiq
from django.conf import settings
from dramatiq.common import dq_name

from accounts import connections
from inference import arrivals, catalog, preparation, starter_rows, starters, verifying
from inference.errors import Conflict
from inference.models import Model

log = logging.getLogger(__name__)

TIME_LIMIT_MS = 30 * 60 * 1000
ARRIVAL_LIMIT_MS = 7 * 24 * 3600 * 1000  # a large model on a slow line


@dramatiq.actor(queue_name="models", max_retries=2, time_limit=TIME_LIMIT_MS)
def prepare_model(name: str) -> None:
    """Make a model's files, then let it be served; a failure is kept with its reason."""
    starter = starters.by_name(name)
    if starter is None:
        log.error("no such starter model", extra={"model": name})
        return
    try:
        preparation.convert(starter, settings.HUB_MODELS)
    except (preparation.PreparationFailed, OSError) as error:
        catalog.mark_failed(name, str(error))
        log.exception("model not prepared", extra={"model": name})
        return
    starter_rows.ensure()
    log.info("model prepared", extra={"model": name})


@dramatiq.actor(queue_name="models", max_retries=2, time_limit=ARRIVAL_LIMIT_MS)
def bring_model(pk: int) -> None:
    """Bring the files of a model that was added, and let it be served."""
    arrivals.bring(pk)


@dramatiq.actor(queue_name="models", max_retries=0, time_limit=ARRIVAL_LIMIT_MS)
def verify_model(pk: int) -> None:
    """Hash a model's files again; the row says what came of it."""
    row = Model.objects.filter(pk=pk).first()
    if row is None:
        return
    try:
        damage = verifying.verify(row)
    except Conflict as error:
        log.info("model not verified", extra={"model": row.name, "reason": error.message})
    else:
        log.log(
            logging.ERROR if damage else logging.INFO,
            "model verified",
            extra={"model": row.name, "damage": damage},
        )


def enqueue_arrival(pk: int) -> None:
    """Ask for a model; while Redis is away its row waits for `ask_again`."""
    try:
        bring_model.send(pk)
    except connections.Away as error:
        log.warning("arrival not announced", extra={"model_id": pk, "reason": str(error)})


def enqueue_arrivals() -> None:
    """Go on with everything that had not arrived when the worker ended. Raises: connections.Away."""
    for pk in arrivals.waiting():
        bring_model.send(pk)


def ask_again() -> None:
    """Ask for arrivals whose message was lost, with Redis or on a full disk. The worker's own turn.

    While messages wait to be taken theirs may be among them; while Redis is away nobody is asked.
    """
    left = arrivals.unattended()
    with contextlib.suppress(*connections.Away):
        if left and not _messages():
            for pk in left:
                bring_model.send(pk)


def _messages() -> int:
    """Count what no worker has taken yet, what is to be tried later too."""
    broker: Any = dramatiq.get_broker()
    names = (bring_model.queue_name, dq_name(bring_model.queue_name))
    return sum(broker.client.llen(f"{broker.namespace}:{name}") for name in names)


def enqueue_preparations() -> list[str]:
    """Ask for every starter model that still has to be made; give their names.

    Raises: connections.Away.
    """
    waiting = [row.name for row in starter_rows.ensure()]
    for name in waiting:
        prepare_model.send(name)
    return waiting
