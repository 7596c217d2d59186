"""From a job's files and events to what MLflow keeps: parameters, metrics, tags. Pure."""

import json
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import msgspec

from training import contract

STEP_FIGURES = (
    "loss",
    "learning_rate",
    "grad_norm",
    "epoch",
    "tokens",
    "tokens_per_s",
    "memory_bytes",
)
PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes")
MOST_PARAMETERS = 60
LONGEST_VALUE = 500  # characters; MLflow's own limit is 6000


def of_event(event: contract.AnyEvent) -> dict[str, float]:
    """Give the metrics of a step or an evaluation."""
    match event:
        case contract.StepEvent():
            return {name: getattr(event, name) for name in STEP_FIGURES} | event.metrics
        case contract.EvaluationEvent():
            own = {f"eval_{name}": value for name, value in event.metrics.items()}
            return {"eval_loss": event.loss} | own
        case _:
            return {}


def parameters(job: contract.Job, record: dict[str, Any]) -> dict[str, str]:
    """At most MOST_PARAMETERS: those that make one run another."""
    recipe: dict[str, Any] = msgspec.to_builtins(job.recipe)
    data, packages = record.get("data", {}), record.get("packages", {})
    found = recipe | {
        "base": job.tags.get("base_model") or Path(job.base).name,
        "base_sha256": next(iter(record.get("base", {}).values()), ""),
        "data_format": job.data.format,
        "data_sha256": data.get("sha256", job.data.sha256),
        "data_order": data.get("order", ""),
        "template_sha256": record.get("template_sha256", ""),
        "seed": job.seed,
        "processes": job.limits.processes,
        "device": record.get("device", job.device),
        "hub_version": job.hub_version,
        "code_sha256": record.get("code_sha256", ""),
        **{name: packages.get(name, "") for name in PACKAGES},
    }
    return {name: _text(value) for name, value in found.items()}


def _text(value: Any) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text[:LONGEST_VALUE]


def tags(job: contract.Job) -> dict[str, str]:
    """Lineage: of which job, base and data set a run or a version is."""
    return {"hub.job": job.id} | {f"hub.{name}": value for name, value in job.tags.items()}


def record(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / contract.RECORD).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def samples(folder: Path) -> Iterator[str]:
    """Give lines of JSON, each sample once, however often attempts told it."""
    seen: set[tuple[int, str]] = set()
    for event in contract.read_events(folder):
        if isinstance(event, contract.SampleEvent) and (event.step, event.prompt) not in seen:
            seen.add((event.step, event.prompt))
            told = {name: getattr(event, name) for name in ("step", "prompt", "base", "answer")}
            yield json.dumps(told, ensure_ascii=False)


def environment() -> str:
    """Give every installed package with its version, as `pip install -r` reads it."""
    found = {f"{one.metadata['Name']}=={one.version}" for one in distributions()}
    return "\n".join(sorted(found, key=str.lower)) + "\n"
