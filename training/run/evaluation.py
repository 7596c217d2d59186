"""What the job is worth: loss on held-out rows, exact answers, valid JSON and tool calls, the person's own
prompts side by side with the base, and a guard set that should not become worse.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from training import contract
from training.run import answers, loss, rows
from training.run.batches import Row
from training.run.preference import Preference
from training.run.rendering import IGNORED, Renderer
from training.run.trainer import JobTrainer

BASE_ANSWERS = "base_answers.json"
SHOWN_CHARS = 2_000  # of a text of a case


@dataclass(slots=True)
class Evaluation:
    """Made once for a job, by its first rank; the base's side is computed before the first step and kept."""

    job: contract.Job
    renderer: Renderer
    held_out: Sequence[Row]
    guard: Sequence[Row]
    base: dict[str, Any] = field(default_factory=dict)
    cases: list[dict[str, Any]] = field(default_factory=list)  # what was asked, wanted and said

    @classmethod
    def read(cls, job: contract.Job, renderer: Renderer) -> "Evaluation":
        """Raises: BadData, OSError."""
        sets: list[Sequence[Row]] = []
        for name in (job.data.validation, job.evaluate.guard):
            found = (
                None
                if name is None
                else rows.read(Path(name), job.data.format, renderer, job.recipe)
            )
            sets.append([] if found is None else found.examples or found.pairs)
        held_out, guard = sets
        return cls(job, renderer, held_out, guard)

    # --- the base ---------------------------------------------------------------------------------

    def begin(self, trainer: JobTrainer) -> None:
        """Call before any weight has changed, or been read from a checkpoint."""
        file = Path(self.job.output) / BASE_ANSWERS
        try:
            self.base = json.loads(file.read_bytes())
        except (OSError, ValueError):
            self.base = self._of_base(trainer)
            file.write_text(json.dumps(self.base, ensure_ascii=False))

    def _of_base(self, trainer: JobTrainer) -> dict[str, Any]:
        with trainer.without_adapter():
            found: dict[str, Any] = {"samples": self._samples(trainer)}
            for name, given in self._sets().items():
                if isinstance(trainer, Preference):
                    found[f"{name}_reference"] = trainer.likelihoods(given).tolist()
                self.base = found
                found[f"{name}_loss"] = self.loss(trainer, name)
        return found

    def _sets(self) -> dict[str, Sequence[Row]]:
        sets = {"held_out": self.held_out, "guard": self.guard}
        return {name: given for name, given in sets.items() if given}

    # --- along the way ----------------------------------------------------------------------------

    def __call__(self, trainer: JobTrainer, final: bool) -> float | None:
        """Tell the held-out loss and the samples; give the loss."""
        champions = self._champions(trainer) if final else {}
        held_out = self.loss(trainer, "held_out") if self.held_out else None
        step, emit = trainer.state.global_step, trainer.work.spool.emit
        metrics = self._metrics(trainer) if final else {}
        if held_out is not None or metrics:
            told = trainer.progress.loss if held_out is None else held_out
            emit(contract.EvaluationEvent(step=step, loss=told, metrics=metrics, final=final))
        given = self._tell_samples(trainer, step)
        if final:
            report = {"step": step, "loss": held_out, "metrics": metrics, "champions": champions}
            self._write(report, given)
        return held_out

    def _champions(self, trainer: JobTrainer) -> dict[str, dict[str, float]]:
        """Measure those that answer now on the same rows; what cannot be measured is told."""
        found: dict[str, dict[str, float]] = {}
        for name, folder in self.job.evaluate.champions.items():
            try:
                with trainer.another_adapter(Path(folder)):
                    found[name] = self._figures(trainer)
            except (OSError, RuntimeError, ValueError) as error:
                message = f"{name} could not be measured beside it: {error}"
                told = contract.WarningEvent(code="champion_unmeasured", message=message)
                trainer.work.spool.emit(told)
        return found

    def _figures(self, trainer: JobTrainer) -> dict[str, float]:
        found = self._metrics(trainer)
        if self.held_out:
            found["loss"] = self.loss(trainer, "held_out")
        return found

    def _tell_samples(self, trainer: JobTrainer, step: int) -> list[str]:
        given = self._samples(trainer)
        for prompt, base, answer in zip(
            self.job.evaluate.prompts, self.base.get("samples", []), given, strict=False
        ):
            trainer.work.spool.emit(
                contract.SampleEvent(step=step, prompt=prompt, base=base, answer=answer)
            )
        return given

    def _write(self, report: dict[str, Any], given: list[str]) -> None:
        samples = dict(zip(self.job.evaluate.prompts, given, strict=True))
        report |= {"base": self.base, "samples": samples, "cases": self.cases}
        target = Path(self.job.output) / contract.EVALUATION
        target.write_text(json.dumps(report, ensure_ascii=False, indent=1))

    def _samples(self, trainer: JobTrainer) -> list[str]:
        wanted = self.job.evaluate
        return [
            answers.to_prompt(trainer.model, self.renderer, prompt, wanted.max_tokens)
            for prompt in wanted.prompts
        ]

    # --- figures ----------------------------------------------------------------------------------

    @torch.no_grad()
    def loss(self, trainer: JobTrainer, name: str) -> float:
        """Mean over learned tokens; of pairs, DPO's loss against the base."""
        was_training, given = trainer.model.training, self._sets()[name]
        trainer.model.eval()
        total, items = 0.0, 0
        reference = self.base.get(f"{name}_reference")
        for at in range(0, len(given), trainer.work.recipe.batch_size):
            part = list(enumerate(given[at : at + trainer.work.recipe.batch_size], at))
            batch = _placed(trainer, part)
            with trainer.accelerator.autocast():
                total += float(_summed(trainer, batch, reference))
            items += trainer.items(batch)
        trainer.model.train(was_training)
        return total / max(items, 1)

    def _metrics(self, trainer: JobTrainer) -> dict[str, float]:
        """Of the last rows' answers, and of losses beside the base's."""
        found: dict[str, float] = {}
        if self.held_out:
            found["base_loss"] = self.base["held_out_loss"]
        if self.guard:
            found["guard_loss"] = self.loss(trainer, "guard")
            found["guard_base_loss"] = self.base["guard_loss"]
        if self.job.data.format in {"chat", "completion"}:
            found |= self._answers(trainer)
        return found

    def _answers(self, trainer: JobTrainer) -> dict[str, float]:
        """Shares of right answers; of the training rows where none are held out."""
        file, mark = self.job.data.validation, ""
        if file is None:
            file, mark = self.job.data.train, "train_"
        seen: dict[str, list[bool]] = defaultdict(list)
        self.cases = []
        for _, row in islice(rows.rows(Path(file)), self.job.evaluate.answers):
            self._judge(trainer, row, seen)
        return {f"{mark}{name}": sum(own) / len(own) for name, own in seen.items()}

    def _judge(self, trainer: JobTrainer, row: Any, seen: dict[str, list[bool]]) -> None:
        prompt, wanted, tools, calls = _question(self.renderer, row)
        if prompt is None:
            return
        room = max(
            self.job.evaluate.max_tokens, len(self.renderer.vocabulary.encode(wanted, False)) + 8
        )
        said = answers.text(
            self.renderer, answers.greedy(trainer.model, self.renderer, prompt, room)
        ).strip()
        is_right = answers.are_calls_valid(said, tools or []) if calls else said == wanted.strip()
        self.cases.append(_case(row, wanted, said, is_right=is_right))
        if calls:
            seen["tool_calls_valid"].append(is_right)
            return
        seen["exact_match"].append(is_right)
        if answers.is_json(wanted):
            seen["json_valid"].append(answers.is_json(said))


def _case(row: Any, wanted: str, said: str, *, is_right: bool) -> dict[str, Any]:
    """Keep an answer for people to look at, each text as far as they read."""
    asked = row["prompt"] if "completion" in row else row["messages"][-2:-1]
    text = asked if isinstance(asked, str) else str(asked[0].get("content") or "") if asked else ""
    texts = {"asked": text, "wanted": wanted, "said": said}
    return {name: text[:SHOWN_CHARS] for name, text in texts.items()} | {"is_right": is_right}


def _summed(
    trainer: JobTrainer, batch: dict[str, torch.Tensor], reference: list[list[float]] | None
) -> torch.Tensor:
    if reference is None:
        return loss.summed(trainer.head, trainer.model, batch)
    policy = loss.by_row(trainer.head, trainer.model, batch)
    of_base = torch.tensor(reference, device=policy.device)[batch["rows"]].T.reshape(-1)
    losses, _ = loss.preference(policy, of_base, trainer.work.recipe.beta)
    return losses.sum()


def _placed(trainer: Any, part: list[tuple[int, Row]]) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = trainer._prepare_inputs(trainer.collate(part))  # noqa: SLF001
    return found


def _question(renderer: Renderer, row: Any) -> tuple[list[int] | None, str, Any, Any]:
    """Give the tokens before the last answer, that answer, the tools, and the calls it should make."""
    if "completion" in row:
        made = renderer.completion(row["prompt"], row["completion"])
        learned = next(at for at, label in enumerate(made.labels) if label != IGNORED)
        return made.ids[:learned], row["completion"], None, None
    messages = row["messages"]
    last = messages[-1]
    if last.get("role") != "assistant":
        return None, "", None, None
    content = last.get("content") or ""
    wanted = content if isinstance(content, str) else "".join(p.get("text", "") for p in content)
    return (
        renderer.prompt(messages[:-1], row.get("tools")),
        wanted,
        row.get("tools"),
        last.get("tool_calls"),
    )
