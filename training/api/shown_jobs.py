"""Jobs, events and checkpoints in the form of OpenAI's API."""

import datetime as dt
from typing import Any

from training.models import Checkpoint, Job, JobEvent

State = Job.State
# The clients know no pause: it is shown as waiting, and `x_hub_status` says what it is.
STATUS = {
    State.DRAFT: "validating_files",
    State.VALIDATING: "validating_files",
    State.QUEUED: "queued",
    State.STARTING: "running",
    State.RUNNING: "running",
    State.PAUSING: "running",
    State.PAUSED: "queued",
    State.EVALUATING: "running",
    State.REGISTERING: "running",
    State.SUCCEEDED: "succeeded",
    State.FAILED: "failed",
    State.CANCELLED: "cancelled",
}
HYPERPARAMETERS = {"n_epochs": "epochs", "batch_size": "batch_size"}
FIGURES = ("step", "train_loss", "valid_loss")


def bare(job_id: str) -> str:
    return job_id.removeprefix("ftjob-")


def job(row: Job) -> dict[str, Any]:
    figures = _hyperparameters(row)
    return {
        "id": row.pk,
        "object": "fine_tuning.job",
        "created_at": int(row.created_at.timestamp()),
        "finished_at": _seconds(row.ended_at),
        "estimated_finish": _estimate(row),
        "status": STATUS[State(row.state)],
        "x_hub_status": row.state,
        "x_hub_reason": row.reason or None,
        "x_hub_config": row.recipe,
        "x_hub_mlflow_run": row.mlflow_run or None,
        "model": row.base,
        "fine_tuned_model": row.fine_tuned_model or None,
        "organization_id": row.team.name,
        "training_file": row.version.file_id,
        "validation_file": row.version.validation_file_id or None,
        "result_files": [row.result_file_id] if row.result_file_id else [],
        "trained_tokens": row.tokens if row.state == State.SUCCEEDED else None,
        "seed": row.seed,
        "suffix": row.suffix or None,
        "user_provided_suffix": row.suffix or None,
        "metadata": row.metadata,
        "integrations": [],
        "hyperparameters": figures,
        "method": _method(row, figures),
        "error": _error(row),
    }


def _hyperparameters(row: Job) -> dict[str, Any]:
    """Show what was resolved, once it is; until then what was asked for."""
    known = row.recipe or {}
    asked = row.config
    figures = {
        name: known.get(field, asked.get(name, "auto")) for name, field in HYPERPARAMETERS.items()
    }
    return figures | {"learning_rate_multiplier": asked.get("learning_rate_multiplier") or "auto"}


def _method(row: Job, figures: dict[str, Any]) -> dict[str, Any]:
    if row.training_type == "dpo":
        beta = (row.recipe or {}).get("beta", row.config.get("beta", "auto"))
        return {"type": "dpo", "dpo": {"hyperparameters": figures | {"beta": beta}}}
    return {"type": "supervised", "supervised": {"hyperparameters": figures}}


def _error(row: Job) -> dict[str, Any] | None:
    if row.state != State.FAILED:
        return None
    return {"code": row.error_code, "message": row.error_message, "param": None}


def _estimate(row: Job) -> int | None:
    is_known = row.eta_s is not None and row.state == State.RUNNING
    return int(dt.datetime.now(dt.UTC).timestamp() + (row.eta_s or 0)) if is_known else None


def event(row: JobEvent) -> dict[str, Any]:
    return {
        "id": f"ftevent-{bare(row.job_id)}-{row.seq}",
        "object": "fine_tuning.job.event",
        "created_at": int(row.at.timestamp()),
        "level": row.level,
        "type": "metrics" if row.type == "metrics" else "message",
        "message": row.message,
        "data": row.data,
    }


def checkpoint(row: Checkpoint) -> dict[str, Any]:
    return {
        "id": f"ftckpt-{bare(row.job_id)}-{row.step}",
        "object": "fine_tuning.job.checkpoint",
        "created_at": int(row.created_at.timestamp()),
        "fine_tuning_job_id": row.job_id,
        "fine_tuned_model_checkpoint": row.model,
        "step_number": row.step,
        "metrics": {"step": row.step} | _loss(row),
    }


def _loss(row: Checkpoint) -> dict[str, float]:
    figures: dict[str, float] = {}
    events = JobEvent.objects.filter(job_id=row.job_id, data__step=row.step)
    for data in events.filter(type__in=("metrics", "evaluation")).values_list("data", flat=True):
        figures |= {name: data[name] for name in FIGURES if name in data}
    return figures


def _seconds(at: dt.datetime | None) -> int | None:
    return int(at.timestamp()) if at else None
