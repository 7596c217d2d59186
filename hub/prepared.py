"""Whether the data folder is up to date. `prepare` brings it there; a start that finds it so spares
itself the process: half a second of imports.
"""

from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.utils import Error as DatabaseError

from inference import starter_rows, starters


def pending_migrations() -> int:
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def is_prepared() -> bool:
    """Look, and bring names in step with the settings where nothing else is to do.

    What cannot be looked at is not prepared: the process that prepares says why.
    """
    try:
        if pending_migrations() or _missing_files():
            return False
        starter_rows.ensure()
    except (DatabaseError, OSError):
        return False
    finally:
        connection.close()
    return True


def _missing_files() -> bool:
    chosen = starters.chosen(settings.HUB_MODEL_SIZE)
    return any(starter.is_missing(settings.HUB_MODELS) for starter in chosen)
