"""Each team's part of one store: what the server and the trackers agree on."""

from pathlib import Path

HEADER = "X-MLFLOW-WORKSPACE"


def name(team: int) -> str:
    """A team may be renamed: its number stays."""
    return f"team-{team}"


def environment(artifacts: Path) -> dict[str, str]:
    """Give what MLflow is to find in its environment before it is imported."""
    return {
        "MLFLOW_ENABLE_WORKSPACES": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": artifacts.as_uri(),
    }
