"""Where MLflow is: a store of our own with a server on a unix socket, or a remote server.

Asked by the worker's trackers, by `serve_mlflow` and by the door.
"""

from pathlib import Path
from urllib.parse import quote, urlencode

from django.conf import settings
from django.db import connection

from training import processes

PREFIX = "/mlflow"
SCHEMA = "mlflow"  # of our own PostgreSQL
REACHED = ("host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey")


def remote() -> str:
    """Give the address of a server that is not ours, or ""."""
    return str(settings.HUB_MLFLOW_URI)


def folder() -> Path:
    return Path(settings.HUB_DATA) / "mlflow"


def artifacts() -> Path:
    return folder() / "artifacts"


def socket() -> Path:
    return Path(settings.HUB_RUNTIME) / "mlflow.sock"


def environment() -> dict[str, str]:
    """Give all that a process needs to write or to serve: no secret but the database's own.

    Raises: OSError; django.db.Error.
    """
    return processes.environment() | {"MLFLOW_TRACKING_URI": remote() or _own()}


def _own() -> str:
    folder().mkdir(mode=0o700, exist_ok=True)
    if connection.vendor == "postgresql":
        return _postgresql()
    return f"sqlite:///{folder() / 'mlflow.sqlite3'}"


def _postgresql() -> str:
    """Name a schema of its own beside the hub's tables, reached as the hub reaches them."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    own = connection.get_connection_params()
    who = ":".join(quote(own[name], safe="") for name in ("user", "password") if own.get(name))
    query = {name: str(own[name]) for name in REACHED if own.get(name)}
    query["options"] = f"-csearch_path={SCHEMA}"
    return f"postgresql+psycopg://{who}@/{quote(own['dbname'], safe='')}?{urlencode(query)}"
