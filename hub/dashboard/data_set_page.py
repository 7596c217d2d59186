"""What the pages of data sets show: a version with its report, ready for the templates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from django.db.models import Count
from django.utils.translation import gettext as _

from accounts.principals import Principal
from hub.dashboard import build_states, finding_words
from hub.dashboard.states import State
from training import shelf
from training.datasets import findings
from training.datasets.findings import Finding
from training.datasets.report import Pieces, Progress, Report
from training.models import DataSet, DataSetVersion, Job

SHOWN_CHARS = 4_000  # of one text of the preview
SHOWN_JOBS = 50
WRONG = frozenset({DataSetVersion.State.REFUSED, DataSetVersion.State.FAILED})
CHART_TOP, CHART_HEIGHT = 4.0, 96.0  # of the histogram, in its own units


@dataclass(frozen=True, slots=True)
class Kind:
    """All findings of one code."""

    code: str
    severity: str
    count: int

    @property
    def fix(self) -> str:
        return _(findings.fix(self.code))


@dataclass(frozen=True, slots=True)
class Bar:
    """A bucket of the histogram: rows of up to `upper` tokens; the rest are per cent of its frame."""

    lower: int
    upper: int
    rows: int
    x: float
    width: float
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Turn:
    """A part of a row as it came: who says it, and whether it is learned."""

    who: str
    text: str
    is_learned: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """A row of the preview: with a base as the tokens see it, always as it came."""

    line: int
    turns: list[Turn]
    rendered: list[Pieces]


class VersionPage:
    """One version, with what its check found once there is a report."""

    def __init__(self, version: DataSetVersion, who: Principal) -> None:
        self.row, self._who = version, who
        self.report: Report | None = shelf.report(version.pk) if version.is_over else None

    @property
    def state(self) -> State:
        return replace(build_states.of_version(self.row), reason=self.reason)

    @property
    def reason(self) -> str:
        """Say the first error with its line and what mends it, else why the check ended so."""
        found = self.report.findings if self.report and self.row.state in WRONG else []
        first = next((one for one in found if one.severity == "error"), None)
        if first is None:
            return self.row.reason
        place = _("Line %(n)s: ") % {"n": first.line} if first.line else ""
        return f"{place}{finding_words.words(first.message)} {_(findings.fix(first.code))}"

    @property
    def progress(self) -> Progress | None:
        """How far the check is, while it reads."""
        return None if self.row.is_over else shelf.progress(self.row.pk)

    @property
    def n_findings(self) -> int:
        return self.row.errors + self.row.warnings

    @cached_property
    def kinds(self) -> list[Kind]:
        """Errors first, then what there is most of."""
        counts = self.report.counts if self.report else {}
        kinds = [Kind(code, findings.CODES[code][0], count) for code, count in counts.items()]
        return sorted(kinds, key=lambda kind: (kind.severity, -kind.count, kind.code))

    def findings_of(self, code: str) -> list[Finding]:
        """Give those of one kind, or all where `code` names none."""
        found = self.report.findings if self.report else []
        return [one for one in found if one.code == code] if code else found

    @cached_property
    def bars(self) -> list[Bar]:
        lengths = self.report.lengths if self.report else None
        return _bars(lengths.histogram) if lengths else []

    @property
    def samples(self) -> list[Sample]:
        if self.report is None:
            return []
        rendered = self.report.rendered or [[] for _ in self.report.samples]
        pairs = zip(self.report.samples, rendered, strict=False)
        return [Sample(int(row.get("line", 0)), _turns(row), pieces) for row, pieces in pairs]

    @cached_property
    def jobs(self) -> list[Job]:
        rows = Job.objects.visible_to(self._who).filter(version=self.row)
        return [*rows[:SHOWN_JOBS]]


def _bars(histogram: Sequence[tuple[int, int]]) -> list[Bar]:
    top = max(rows for _, rows in histogram) or 1
    width = 100 / len(histogram)
    bars, lower = [], 0
    for at, (upper, rows) in enumerate(histogram):
        height = CHART_HEIGHT * rows / top
        y = CHART_TOP + CHART_HEIGHT - height
        bars.append(Bar(lower, upper - 1, rows, at * width, width, y, height))
        lower = upper
    return bars


def _turns(row: dict[str, Any]) -> list[Turn]:
    """Take a row of any of the four forms of `contract.Data` apart."""
    turns = _said(row.get("messages") or row.get("prompt"), learned=not row.get("chosen"))
    for name in ("completion", "chosen", "rejected", "text"):
        if name in row:
            is_learned = name != "rejected"
            turns += [
                Turn(name, turn.text, is_learned) for turn in _said(row[name], learned=is_learned)
            ]
    return turns


def _said(value: Any, *, learned: bool) -> list[Turn]:
    if isinstance(value, str):
        return [Turn("prompt", value[:SHOWN_CHARS], is_learned=False)]
    return [_turn(message, learned=learned) for message in value or () if isinstance(message, dict)]


def _turn(message: dict[str, Any], *, learned: bool) -> Turn:
    text = message.get("content") or ""
    calls = message.get("tool_calls") or []
    told = [
        f"{call['function'].get('name', '')}({call['function'].get('arguments', '')})"
        for call in calls
        if isinstance(call, dict) and isinstance(call.get("function"), dict)
    ]
    said = "\n".join([str(text), *told] if text else told)
    role = str(message.get("role", ""))
    is_learned = learned and role == "assistant" and message.get("weight", 1) != 0
    return Turn(role, said[:SHOWN_CHARS], is_learned)


@dataclass(frozen=True, slots=True)
class Line:
    """A data set in the list, with its newest version."""

    row: DataSet
    latest: VersionPage | None
    n_versions: int
    n_jobs: int


def lines(rows: Sequence[DataSet], who: Principal) -> list[Line]:
    """Give lines of rows that have their versions prefetched."""
    seen = Job.objects.visible_to(who).filter(version__data_set__in=rows).order_by()
    counts = dict(seen.values_list("version__data_set").annotate(n=Count("pk")))
    return [_line(row, who, counts.get(row.pk, 0)) for row in rows]


def _line(row: DataSet, who: Principal, n_jobs: int) -> Line:
    versions = [*row.versions.all()]
    latest = VersionPage(versions[0], who) if versions else None
    return Line(row, latest, len(versions), n_jobs)
