"""Serve MLflow behind the hub's door, where no remote server is named: one process."""

import os
import sys
from typing import Any

from django.db import Error

from accounts.commands import HubCommand, refusal
from training import mlflow_place


class Command(HubCommand):
    help = __doc__ or ""

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Become that process, with an environment that holds none of the hub's secrets."""
        if mlflow_place.remote():
            sys.exit(refusal(["MLFLOW_TRACKING_URI names a remote server: it serves itself"]))
        try:
            environment = mlflow_place.environment()
        except (OSError, Error) as error:
            sys.exit(refusal([str(error)]))
        places = (str(mlflow_place.socket()), str(mlflow_place.artifacts()))
        command = [sys.executable, "-m", "training.tracking.server", *places]
        os.execve(sys.executable, command, environment)  # noqa: S606 (our own interpreter)
