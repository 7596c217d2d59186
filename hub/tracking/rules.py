"""What of MLflow's server the door opens: its pages, its reads, and notes on what is there. Pure.

Everything else is not there: artifacts are not written, runs and models are the hub's own to make and to
remove, and the routes of gateway, jobs, webhooks, assistants and workspaces lead nowhere.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, unquote

from inference.errors import InvalidValue, NotFound, UnknownParameter

Kind = Literal["page", "static", "file", "read", "note"]
API, API3 = "ajax-api/2.0/mlflow/", "ajax-api/3.0/mlflow/"
READ, WRITE = "training:read", "training:write"
MAX_QUERY_BYTES = 8 * 1024
MAX_NOTE_CHARS = 20_000
STATIC = re.compile(r"static-files/(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*")
LOGGED_MODEL = re.compile(rf"{API}logged-models/m-[0-9a-f]{{1,64}}")
FILES = {"get-artifact", "model-versions/get-artifact"}
READS = {
    "GET": {
        f"{API}artifacts/list",
        f"{API}experiments/get",
        f"{API}experiments/get-by-name",
        f"{API}experiments/search",
        f"{API}metrics/get-history",
        f"{API}metrics/get-history-bulk",
        f"{API}metrics/get-history-bulk-interval",
        f"{API}model-versions/get",
        f"{API}model-versions/search",
        f"{API}registered-models/alias",
        f"{API}registered-models/get",
        f"{API}registered-models/get-latest-versions",
        f"{API}registered-models/search",
        f"{API}runs/get",
        f"{API3}datasets/search",
        f"{API3}server-info",
        "version",
    },
    "POST": {
        f"{API}experiments/search",
        f"{API}experiments/search-datasets",
        f"{API}logged-models/search",
        f"{API}registered-models/get-latest-versions",
        f"{API}runs/search",
        f"{API3}datasets/search",
        f"{API3}traces/metrics",
        f"{API3}traces/search",
        "graphql",
    },
}
# What a person may write about what is there: by method and route, the fields that are taken.
NOTES: dict[tuple[str, str], frozenset[str]] = {
    ("POST", f"{API}runs/update"): frozenset({"run_id", "run_uuid", "run_name"}),
    ("POST", f"{API}runs/set-tag"): frozenset({"run_id", "run_uuid", "key", "value"}),
    ("POST", f"{API}runs/delete-tag"): frozenset({"run_id", "key"}),
    ("POST", f"{API}experiments/set-experiment-tag"): frozenset({"experiment_id", "key", "value"}),
    ("PATCH", f"{API}registered-models/update"): frozenset({"name", "description"}),
    ("POST", f"{API}registered-models/set-tag"): frozenset({"name", "key", "value"}),
    ("DELETE", f"{API}registered-models/delete-tag"): frozenset({"name", "key"}),
    ("PATCH", f"{API}model-versions/update"): frozenset({"name", "version", "description"}),
    ("POST", f"{API}model-versions/set-tag"): frozenset({"name", "version", "key", "value"}),
    ("DELETE", f"{API}model-versions/delete-tag"): frozenset({"name", "version", "key"}),
}
OWN_TAGS = ("hub.", "mlflow.")  # lineage, and what MLflow itself goes by
DESCRIPTION = "mlflow.note.content"


@dataclass(frozen=True, slots=True)
class Opened:
    """A request that may pass, by its path below the door."""

    path: str
    kind: Kind
    scope: str = READ


def opened(method: str, path: str) -> Opened:
    """Say what a path is, exactly as it is asked upstream. Raises: NotFound."""
    asked = "GET" if method == "HEAD" else method
    if asked == "GET" and path == "":
        return Opened(path, "page")
    if asked == "GET" and STATIC.fullmatch(path):
        return Opened(path, "static")
    if asked == "GET" and path in FILES:
        return Opened(path, "file")
    if path in READS.get(asked, ()) or (asked == "GET" and LOGGED_MODEL.fullmatch(path)):
        return Opened(path, "read")
    if (asked, path) in NOTES:
        return Opened(path, "note", WRITE)
    raise NotFound("There is nothing of MLflow's at this address that the hub opens.")


def check_query(query: str) -> None:
    """Raises: InvalidValue for a path that leads elsewhere, in whatever spelling."""
    if len(query) > MAX_QUERY_BYTES:
        raise InvalidValue(f"The query is over the limit of {MAX_QUERY_BYTES} bytes.")
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in {"path", "artifact_path"}:
            _check_path(value)


def _check_path(value: str) -> None:
    """MLflow decodes some of them once more."""
    once = unquote(value)
    for text in (value, once, unquote(once)):
        parts = re.split(r"[/\\]", text)
        strange = text.startswith(("/", "\\", "~")) or re.search(r"[\x00-\x1f%?#:]|//", text)
        if strange or ".." in parts or len(text) > 1024:
            raise InvalidValue("A path names a file below the run's own artifacts.", param="path")


def check_note(method: str, path: str, fields: Mapping[str, object]) -> None:
    """Raises: UnknownParameter, InvalidValue."""
    for name, value in fields.items():
        if name not in NOTES[method, path]:
            raise UnknownParameter("The hub does not change this through MLflow.", param=name)
        if not isinstance(value, str) or len(value) > MAX_NOTE_CHARS:
            text = f"It is a text of {MAX_NOTE_CHARS} characters at most."
            raise InvalidValue(text, param=name)
    key = str(fields.get("key", ""))
    if key.startswith(OWN_TAGS) and key != DESCRIPTION:
        raise InvalidValue(
            "Tags of the hub and of MLflow itself are not changed here.", param="key"
        )
