"""What trainings are worth, side by side: figures of each, and the same case answered by all."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from accounts.principals import Principal
from hub.dashboard import build_words, units
from hub.dashboard.job_page import JobPage
from training.models import Job

MOST_RUNS = 4  # beside each other
SHOWN_RUNS, SHOWN_CASES = 100, 64
LESS_IS_BETTER = ("loss",)  # at the end of a metric's name


@dataclass(frozen=True, slots=True)
class Cell:
    shown: str
    is_best: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One metric of all chosen runs."""

    name: str
    cells: list[Cell]


@dataclass(frozen=True, slots=True)
class Case:
    """One question with the answers of all chosen runs; None where a run was not asked it."""

    asked: str
    wanted: str
    answers: list[dict[str, Any] | None]


class Comparison:
    """Runs that were evaluated, and those of them that are compared."""

    def __init__(self, who: Principal, wanted: Sequence[str]) -> None:
        rows = Job.objects.visible_to(who).filter(state=Job.State.SUCCEEDED)
        found = rows.select_related("team", "version__data_set")[:SHOWN_RUNS]
        every = [JobPage(job, who) for job in found]
        self.runs = [run for run in every if run.is_evaluated]
        by_key = {run.row.pk: run for run in self.runs}
        chosen = [by_key[key] for key in dict.fromkeys(wanted) if key in by_key]
        self.chosen = (chosen or self.runs[:2])[:MOST_RUNS]

    @cached_property
    def figures(self) -> list[dict[str, float]]:
        return [_figures(run.evaluation) for run in self.chosen]

    @property
    def rows(self) -> list[Row]:
        names = [name for figures in self.figures for name in figures]
        return [self._row(name) for name in dict.fromkeys(names)]

    def _row(self, name: str) -> Row:
        values = [figures.get(name) for figures in self.figures]
        known = [value for value in values if value is not None]
        best = min(known) if name.endswith(LESS_IS_BETTER) else max(known)
        tells = len(known) > 1 and len(set(known)) > 1
        cells = [_cell(name, value, is_best=tells and value == best) for value in values]
        return Row(build_words.metric_word(name), cells)

    @cached_property
    def cases(self) -> list[Case]:
        """Each case of any run once, in the order in which they were asked."""
        found: dict[tuple[str, str], Case] = {}
        for place, run in enumerate(self.chosen):
            for case in _cases(run.evaluation)[:SHOWN_CASES]:
                key = (str(case.get("asked", "")), str(case.get("wanted", "")))
                row = found.setdefault(key, Case(*key, answers=[None] * len(self.chosen)))
                row.answers[place] = case
        return [*found.values()][:SHOWN_CASES]


def _cases(evaluation: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows it was judged by, then people's own questions, which nobody judges."""
    samples = evaluation.get("samples") or {}
    own = [{"asked": asked, "said": said} for asked, said in samples.items()]
    return [*(evaluation.get("cases") or []), *own]


def _cell(name: str, value: float | None, *, is_best: bool) -> Cell:
    if value is None:
        return Cell(units.UNKNOWN)
    return Cell(build_words.metric_value(name, value), is_best)


def _figures(evaluation: dict[str, Any]) -> dict[str, float]:
    figures = {"valid_loss": evaluation["loss"]} if evaluation.get("loss") is not None else {}
    return figures | dict(evaluation.get("metrics") or {})
