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

MOST_CHAMPIONS = 2  # each is measured as the result is
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
    return contract.Evaluate(prompts=job.prompts, guard=_guard_path(job), champions=_champions(job))


def _champions(job: Job) -> dict[str, str]:
    """Give the adapters of this base that aliases of the team lead to now: a result may replace them."""
    if (job.recipe or {}).get("tuner") == "full":
        return {}  # an adapter of the base is none of what became of it
    rows = Job.objects.filter(stage="champion", team=job.team, base=job.base)
    found = {}
    for row in rows.order_by("-ended_at")[:MOST_CHAMPIONS]:
        folder = row.folder().resolve() / contract.RESULT
        if (folder / "adapter_config.json").is_file():
            found[row.fine_tuned_model] = str(folder)
    return found


def _guard_path(job: Job) -> str | None:
    if job.guard is None:
        return None
    refuse_other_guard(job.guard, job.version)
    return str(job.guard.train_path().resolve())


def refuse_other_guard(guard: DataSetVersion | None, version: DataSetVersion) -> None:
    """It is read as the data is; what is not checked yet has no format. Raises: InvalidValue."""
    if guard is not None and version.format and guard.format != version.format:
        text = f"The guard set has the format {guard.format}, the data {version.format}."
        raise InvalidValue(text, param="guard")


def judged(job: Job) -> dict[str, Any]:
    """Give the gate's verdict, and write it beside the evaluation for MLflow. Raises: OSError."""
    found = contract.read_evaluation(job.folder())
    verdict: dict[str, Any] = msgspec.to_builtins(gate.judge(found, gate.read_limits(job.gate)))
    (job.folder() / gate.FILE).write_text(json.dumps(verdict, indent=1))
    return verdict


def beside(job: Job, champion: Job) -> list[gate.Check]:
    """Compare a result with who answers now, where both were measured on the same rows."""
    verdict = msgspec.convert(job.verdict or {"outcome": "unmeasured"}, gate.Verdict)
    if checks := verdict.champions.get(champion.fine_tuned_model):
        return checks
    own = contract.read_evaluation(job.folder())
    return gate.beside(own, _kept_figures(job, champion), gate.read_limits(job.gate))


def _kept_figures(job: Job, champion: Job) -> dict[str, float]:
    """Give what was measured of a champion on rows of this job, read alike; losses only of the same base."""
    kept = contract.read_evaluation(champion.folder())
    metrics, found = kept.get("metrics") or {}, dict[str, float]()
    if _reading(job) != _reading(champion):
        return {}
    if job.version_id == champion.version_id:
        found |= {name: metrics[name] for name in gate.SHARES if name in metrics}
        if job.base == champion.base and kept.get("loss") is not None:
            found["loss"] = kept["loss"]
    if job.guard_id and (job.guard_id, job.base) == (champion.guard_id, champion.base):
        found |= {name: metrics[name] for name in ("guard_loss",) if name in metrics}
    return found


def _reading(job: Job) -> list[Any]:
    """Give what decides which tokens of a row are learned."""
    return [(job.recipe or {}).get(name) for name in ("train_on", "max_length", "objective")]


def finish(job: Job) -> None:
    """Once it has succeeded: its version is a candidate if the gate passed; ask for its exports."""
    passed = (job.verdict or {}).get("outcome") == "passed"
    stages.ask(job, "candidate" if passed else "none")
    for kind in job.exports:
        Export.objects.get_or_create(job=job, kind=kind)
