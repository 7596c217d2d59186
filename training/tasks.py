"""Background work of training, done by the Dramatiq worker; hub.broker is configured before."""

import logging

import dramatiq

from accounts import connections
from training import ingest

log = logging.getLogger(__name__)

CHECK_LIMIT_MS = 24 * 3600 * 1000


@dramatiq.actor(queue_name="training", max_retries=2, time_limit=CHECK_LIMIT_MS)
def validate_data_set(version_id: str) -> None:
    """Check a version of a data set; its row says what came of it."""
    ingest.validate(version_id)


def enqueue_validation(version_id: str) -> None:
    """Ask for a check; while Redis is away the row waits for the worker's next start or hour."""
    try:
        validate_data_set.send(version_id)
    except connections.Away as error:
        words = {"version": version_id, "reason": str(error)}
        log.warning("check of a data set not announced", extra=words)


def enqueue_validations() -> None:
    """Go on with every check that had not ended. Raises: connections.Away."""
    for version_id in ingest.waiting():
        validate_data_set.send(version_id)


def ask_again() -> None:
    """Do as `enqueue_validations`, the worker's hourly task."""
    for version_id in ingest.waiting():
        enqueue_validation(version_id)
