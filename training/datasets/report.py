"""What is known of a data set after it was read: `report.json` beside its files."""

import math
from array import array
from collections.abc import Sequence
from typing import Any

import msgspec

from training.contract import Format
from training.datasets.findings import Finding
from training.datasets.sources import Writing

BUCKETS = 24


class Part(msgspec.Struct, kw_only=True):
    """One written JSONL file."""

    name: str
    rows: int
    size_bytes: int
    sha256: str


class Lengths(msgspec.Struct, kw_only=True):
    """Of rows, in tokens. `histogram` holds the upper bound of each bucket and its rows."""

    total: int
    p50: int
    p95: int
    longest: int
    supervised: int
    over: int  # rows that are longer than max_length
    max_length: int
    histogram: list[tuple[int, int]]

    @property
    def rows(self) -> int:
        """That were measured: those to learn, those held out, and those left out as repeats."""
        return sum(count for _, count in self.histogram)

    @property
    def share(self) -> float:
        """Of tokens that are learned."""
        return self.supervised / self.total if self.total else 0.0


class Counted(msgspec.Struct, kw_only=True):
    """`cut` rows lose their end, `dropped` ones all that would be learned; else nothing is too long."""

    lengths: Lengths | None
    cut: int = 0
    dropped: int = 0


class Progress(msgspec.Struct, kw_only=True):
    """What a check has found so far, written about once a second while it reads."""

    rows: int
    errors: int
    warnings: int


# A rendered example in pieces of text, each with whether it is learned.
Pieces = list[tuple[str, bool]]


class Report(msgspec.Struct, kw_only=True):
    """`counts` has all findings by code; `findings` the first of each kind."""

    writing: Writing
    shape: str = ""
    format: Format | None = None
    columns: dict[str, str] = {}
    rows: int = 0  # that came
    kept: int = 0  # that will be learned or held out
    train: Part | None = None
    validation: Part | None = None
    findings: list[Finding] = []
    counts: dict[str, int] = {}
    errors: int = 0
    warnings: int = 0
    characters: int = 0
    lengths: Lengths | None = None
    samples: list[dict[str, Any]] = []
    rendered: list[list[Pieces]] = []  # of each sample, its examples as the base is shown them


def lengths(tokens: Sequence[int], supervised: int, max_length: int) -> Lengths | None:
    """Sum up the lengths of all rows; None where there is none."""
    if not tokens:
        return None
    ordered = array("I", sorted(tokens))
    return Lengths(
        total=sum(ordered),
        p50=ordered[(len(ordered) - 1) // 2],
        p95=ordered[math.ceil(0.95 * len(ordered)) - 1],
        longest=ordered[-1],
        supervised=supervised,
        over=sum(length > max_length for length in ordered),
        max_length=max_length,
        histogram=_histogram(ordered),
    )


def _histogram(ordered: Sequence[int]) -> list[tuple[int, int]]:
    width = max(1, math.ceil((ordered[-1] + 1) / BUCKETS))
    counts = [0] * (ordered[-1] // width + 1)
    for length in ordered:
        counts[length // width] += 1
    return [((at + 1) * width, count) for at, count in enumerate(counts)]
