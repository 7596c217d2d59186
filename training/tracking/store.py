"""MLflow as it is used here: found or made once, then written; each write may be repeated."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "15")

from mlflow.entities import ViewType, Workspace
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service.utils import _get_store
from mlflow.tracking._workspace.registry import get_workspace_store

from training.tracking import bookmark

__all__ = ["MlflowException", "opened", "prepare", "put_stage", "run_of", "version_of"]
EXPERIMENT = "training"


def opened(uri: str, artifacts: Path | None, workspace: str = "") -> tuple[MlflowClient, str]:
    """Give a client and the experiment's id; the first one makes the tables.

    `artifacts`: the folder of an embedded store; None: the server decides. `workspace`: a team's own
    part of an embedded store, made where it is missing; the environment switches such parts on.
    Raises: MlflowException; OSError.
    """
    with _alone(artifacts):
        if workspace:
            _ensure_workspace(uri, workspace)
        client = MlflowClient(uri, uri)
        # In a workspace MLflow itself decides on the place, below the root of all artifacts.
        return client, _experiment(client, None if workspace else artifacts)


def prepare(uri: str, artifacts: Path) -> None:
    """Make the tables of an embedded store. Raises: MlflowException, OSError."""
    with _alone(artifacts):
        _make_tables(uri)


def _make_tables(uri: str) -> None:
    """MLflow's stores do so when they are opened."""
    _get_store(uri)  # type: ignore[no-untyped-call]  # MLflow's own


def _ensure_workspace(uri: str, name: str) -> None:
    _make_tables(uri)
    try:
        get_workspace_store(workspace_uri=uri).create_workspace(Workspace(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


@contextmanager
def _alone(folder: Path | None) -> Iterator[None]:
    """MLflow's migrations do not bear two at once."""
    if folder is None:
        yield
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with bookmark.held(folder / "mlflow.lock", wait=True):
        yield


def _experiment(client: MlflowClient, artifacts: Path | None) -> str:
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        place = None if artifacts is None else artifacts.as_uri()
        return str(client.create_experiment(EXPERIMENT, artifact_location=place))
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def run_of(client: MlflowClient, experiment: str, job: str, tags: dict[str, str]) -> str:
    """Give the run of a job, by its tag: a tracker may have been killed after it made one."""
    quoted = job.replace("'", "")
    found = client.search_runs([experiment], f"tags.`hub.job` = '{quoted}'", ViewType.ALL, 1)
    if found:
        return str(found[0].info.run_id)
    return str(client.create_run(experiment, run_name=job, tags=tags).info.run_id)


def version_of(
    client: MlflowClient, name: str, run_id: str, source: str, tags: dict[str, str]
) -> str:
    """Give the run's version of a registered model, made where there is none."""
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    for found in client.search_model_versions(f"run_id = '{run_id}'"):
        if found.name == name:
            return str(found.version)
    return str(client.create_model_version(name, source, run_id, tags=tags).version)


def put_stage(client: MlflowClient, name: str, version: str, stage: str) -> None:
    """Let this version have this alias and none of the others; several jobs' orders may differ."""
    aliases = client.get_registered_model(name).aliases
    if stage != "none":
        client.set_registered_model_alias(name, stage, version)
    for alias in ("candidate", "champion", "previous"):
        if alias != stage and str(aliases.get(alias, "")) == version:
            client.delete_registered_model_alias(name, alias)
