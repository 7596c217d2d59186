"""What has run out is forgotten: sessions, browsers, tokens, codes. The worker calls it once an hour."""

import datetime as dt
import logging
from collections.abc import Callable
from importlib import import_module

from django.conf import settings
from django.db import DatabaseError, close_old_connections
from django.utils import timezone

from accounts import retention, visits
from accounts.models import Grant

logger = logging.getLogger(__name__)

EVERY_S = 3600.0
KEPT = dt.timedelta(days=7)  # ended sign-ins of programs, so that a late second use is still seen


def sweep() -> None:
    """Do it now."""
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()
    visits.sweep()
    Grant.objects.filter(expires_at__lt=timezone.now() - KEPT).delete()
    _sweep_oauth()


def sweep_audit() -> None:
    """A broken chain is left as it is: somebody has to look at it first."""
    try:
        retention.sweep()
    except (retention.ChainBroken, ValueError) as error:
        logger.critical("old rows of the audit log stay", extra={"reason": str(error)})


def sweep_apart(*more: Callable[[], object]) -> None:
    """Do it, and what other rooms have of the kind, in a process that lives long.

    A database or disk that is away is tried again in an hour.
    """
    close_old_connections()
    for step in (sweep, sweep_audit, *more):
        try:
            step()
        except (DatabaseError, OSError):
            logger.warning("what has run out is still there", exc_info=True)
    close_old_connections()


def _sweep_oauth() -> None:
    from oauth2_provider.models import clear_expired  # noqa: PLC0415 (as late as its app)

    clear_expired()
