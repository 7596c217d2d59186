"""What is asked for beside the training: prompts and a guard set to measure by, limits of the gate, exports.

Kept with the job; `jobs` reads it at the start, `publish` does what is left once the result is there.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from inference.errors import InvalidValue
from training import contract, gate, stages
from training.models import DataSetVersion, Export, Job

MOST_PROMPTS, LONGEST_PROMPT = 32, 4_000


@dataclass(frozen=True, slots=True)
class After:
    prompts: Sequence[str] = ()
    guard: DataSetVersion | None = None
    gate: Mapping[str, Any] = field(default_factory=dict)
    exports: Sequence[str] = ()

    def fields(self) -> dict[str, Any]:
        """Give what is kept on the row. Raises: InvalidValue."""
        gate.read_limits(self.gate)
        if self.guard is not None and self.guard.state != DataSetVersion.State.READY:
            text = f"The guard set is {self.guard.state}: give one that was checked."
            raise InvalidValue(text, param="guard")
        return {
            "prompts": list(self.prompts),
            "guard": self.guard,
            "gate": dict(self.gate),
            "exports": sorted(set(self.exports)),
        }


def evaluation(job: Job) -> contract.Evaluate:
    """Say what the training process is to measure. Raises: InvalidValue."""
    return contract.Evaluate(prompts=job.prompts, guard=_guard_path(job))


def _guard_path(job: Job) -> str | None:
    if job.guard is None:
        return None
    if job.guard.format != job.version.format:
        text = f"The guard set is of the form {job.guard.format}, the data {job.version.format}."
        raise InvalidValue(text, param="guard")
    return str(job.guard.train_path().resolve())


def judged(job: Job) -> dict[str, Any]:
    """Give the gate's verdict, and write it beside the evaluation for MLflow. Raises: OSError."""
    found = contract.read_evaluation(job.folder())
    verdict: dict[str, Any] = msgspec.to_builtins(gate.judge(found, gate.read_limits(job.gate)))
    (job.folder() / gate.FILE).write_text(json.dumps(verdict, indent=1))
    return verdict


def finish(job: Job) -> None:
    """Once it has succeeded: its version is a candidate if the gate passed; ask for its exports."""
    passed = (job.verdict or {}).get("outcome") == "passed"
    stages.ask(job, "candidate" if passed else "none")
    for kind in job.exports:
        Export.objects.get_or_create(job=job, kind=kind)
