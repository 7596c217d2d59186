"""`python -m training.tracking FOLDER`: write one job's spool to MLflow, until the spool is quiet.

`MLFLOW_TRACKING_URI` says where. Exit code 0: all is written; 75: MLflow is away, or another tracker is
at work, so try again later; 1: MLflow refuses, and the reason is on standard error.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from training import contract
from training.tracking import bookmark, workspaces
from training.tracking.leaving import leave_with_parent

if TYPE_CHECKING:
    from training.tracking.tracker import Tracker

WRITTEN, REFUSED, LATER = 0, 1, 75
POLL_S = 0.5
QUIET_S = 20.0  # a job that lives is heard every 5 s
TRANSIENT = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "ABORTED"}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.tracking", description=__doc__)
    parser.add_argument("folder", type=Path, help="the job's output folder")
    parser.add_argument(
        "--artifacts", type=Path, help="folder of artifacts, for a store of our own"
    )
    parser.add_argument("--workspace", default="", help="the team's part of that store")
    parser.add_argument("--quiet", type=float, default=QUIET_S, help="seconds without news")
    chosen = parser.parse_args(arguments)
    leave_with_parent()
    os.nice(10)  # training goes first
    try:
        with bookmark.held(chosen.folder / bookmark.LOCK):
            return track(chosen.folder, chosen.artifacts, chosen.quiet, chosen.workspace)
    except bookmark.InUse:
        return LATER
    except (OSError, msgspec.MsgspecError) as error:
        return _said(error, REFUSED)


def track(folder: Path, artifacts: Path | None, quiet_s: float, workspace: str = "") -> int:
    """Raises: OSError, msgspec.MsgspecError."""
    if artifacts is not None and workspace:
        os.environ |= workspaces.environment(artifacts) | {"MLFLOW_WORKSPACE": workspace}
    from training.tracking import store  # noqa: PLC0415  its imports take seconds
    from training.tracking.tracker import Tracker  # noqa: PLC0415

    contract.read_job(folder / contract.JOB)
    try:
        client, experiment = store.opened(os.environ["MLFLOW_TRACKING_URI"], artifacts, workspace)
        _follow(Tracker(folder, client, experiment), quiet_s)
    except store.MlflowException as error:
        return _said(error, LATER if error.error_code in TRANSIENT else REFUSED)
    return WRITTEN


def _follow(tracker: "Tracker", quiet_s: float) -> None:
    heard_s = time.monotonic()
    while True:
        if tracker.catch_up():
            heard_s = time.monotonic()
        if time.monotonic() - heard_s >= quiet_s:
            return
        time.sleep(POLL_S)


def _said(error: Exception, code: int) -> int:
    sys.stderr.write(f"{error}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
