"""Keeps what jobs tell in MLflow: starts a tracker for each whose spool is ahead of its bookmark.

A thread of the worker beside `supervising`. Training never waits for it: a tracker that fails is tried
again later, and goes on where it was.
"""

import logging
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlencode

from django.conf import settings
from django.db import Error

from training import mlflow_place, processes, stages
from training.models import Job
from training.tracking import bookmark, workspaces

log = logging.getLogger(__name__)

EVERY_S = 2.0
MOST = 2  # at once: each takes 250 MB
FIRST_PAUSE_S, LONGEST_PAUSE_S = 15.0, 600.0
LATER = 75  # Source: training.tracking, its exit codes
AWAY = "MLflow is away, or another worker's tracker is at it"
LOG = "tracking.log"
SHOWN_BYTES = 500
ENDS: dict[str, Literal["FAILED", "KILLED"]] = {
    Job.State.FAILED: "FAILED",
    Job.State.CANCELLED: "KILLED",
}


def start(stopped: threading.Event) -> threading.Thread:
    """Look at all jobs again and again; trackers that run when told to stop end with their pipe."""
    trackers = Trackers()
    return processes.looked_after("trackers", trackers.turn, EVERY_S, stopped, trackers.leave)


@dataclass(slots=True)
class Patience:
    """When a job whose tracker failed is tried again."""

    next_s: float = 0.0
    pause_s: float = FIRST_PAUSE_S

    def failed(self) -> None:
        self.next_s = time.monotonic() + self.pause_s
        self.pause_s = min(self.pause_s * 2, LONGEST_PAUSE_S)


@dataclass(slots=True)
class Trackers:
    """Those that run, by job."""

    running: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    patience: dict[str, Patience] = field(default_factory=dict)

    def turn(self) -> None:
        """Note what was written, and start what is behind. Raises: OSError, django.db.Error."""
        stages.follow_aliases()
        for job_id in [*self.running]:
            self._collect(job_id)
        for job in Job.objects.filter(is_tracked=False).select_related("team"):
            if _noted(job) and job.pk in self.running:
                _close(self.running[job.pk])  # it would wait for more
            elif job.pk not in self.running and self._is_due(job):
                self._start(job)

    def leave(self) -> None:
        for process in self.running.values():
            _close(process)

    def _is_due(self, job: Job) -> bool:
        waits = self.patience.get(job.pk, Patience()).next_s > time.monotonic()
        return not waits and len(self.running) < MOST and bookmark.is_behind(job.folder())

    def _start(self, job: Job) -> None:
        try:
            environment = mlflow_place.environment()
        except (OSError, Error) as error:
            self._failed(job.pk, str(error))
            return
        with (job.folder() / LOG).open("wb") as said:
            self.running[job.pk] = subprocess.Popen(
                [sys.executable, "-m", "training.tracking", str(job.folder()), *_part(job)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env=environment,
                cwd=settings.BASE_DIR,
                process_group=0,
            )

    def _collect(self, job_id: str) -> None:
        process = self.running[job_id]
        if process.poll() is None:
            return
        _close(self.running.pop(job_id))
        if process.returncode:
            later = process.returncode == LATER
            self._failed(job_id, AWAY if later else _last_words(job_id))
        else:
            self.patience.pop(job_id, None)

    def _failed(self, job_id: str, reason: str) -> None:
        self.patience.setdefault(job_id, Patience()).failed()
        log.warning("a job is not in MLflow yet", extra={"job": job_id, "reason": reason})


def _close(process: "subprocess.Popen[bytes]") -> None:
    if process.stdin is not None:
        process.stdin.close()


def _noted(job: Job) -> bool:
    """Let the row say where its run is; tell whether all that there will be is written. Raises: OSError."""
    mark, folder = bookmark.read(job.folder()), job.folder()
    if mark.run_id and job.state in ENDS and bookmark.wanted_end(folder) is None:
        reason = f"{job.error_code}: {job.error_message}" if job.error_code else job.state
        bookmark.ask_end(folder, bookmark.End(ENDS[job.state], reason))
    done = job.is_over and not bookmark.is_behind(folder)
    known = (mark.run_id, mark.experiment, done)
    if known != (job.mlflow_run, job.mlflow_experiment, job.is_tracked):
        Job.objects.filter(pk=job.pk).update(
            mlflow_run=mark.run_id, mlflow_experiment=mark.experiment, is_tracked=done
        )
    return done


def _part(job: Job) -> list[str]:
    if mlflow_place.remote():
        return []
    team = workspaces.name(job.team_id or 0)
    return ["--artifacts", str(mlflow_place.artifacts()), "--workspace", team]


def _last_words(job_id: str) -> str:
    file = Job(pk=job_id).folder() / LOG
    text = file.read_bytes()[-SHOWN_BYTES:].decode(errors="replace")
    return text.strip().rpartition("\n")[2]


# --- what others ask ------------------------------------------------------------------------------


def tags(job: Job) -> dict[str, str]:
    """Give a run's lineage, and what its model is registered as; the job's file carries them."""
    parts = (job.team.name if mlflow_place.remote() else "", job.base, job.suffix)
    return {
        "base_model": job.base,
        "data_set": job.version.data_set_id,
        "data_set_version": job.version_id,
        "training_type": job.training_type,
        "team": job.team.name,
        # Versions of one purpose; a remote server keeps all teams' models together.
        "registered_model": re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(filter(None, parts))),
    }


def address(job: Job) -> str:
    """Give the page of a job's run, below this hub, or "" while there is none."""
    if not job.mlflow_run:
        return ""
    run = f"#/experiments/{job.mlflow_experiment}/runs/{job.mlflow_run}"
    if mlflow_place.remote():
        return f"{mlflow_place.PREFIX}/{run}"
    return f"{mlflow_place.PREFIX}/?{urlencode({'team': job.team.name})}{run}"
