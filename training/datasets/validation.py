"""Reads a file once, row by row, in flat memory: writes what can be learned, and reports the rest."""

import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from training.datasets import normal, repeats, shapes, sources, texts
from training.datasets.findings import Defect, Findings
from training.datasets.report import Part, Progress, Report
from training.datasets.sources import Row

Row_ = dict[str, Any]
Measure = Callable[[Row_], Iterator[Defect]]  # counts tokens, and says what a model cannot learn
SAMPLES = 5
FEWEST = 10
TRAIN, VALIDATION, REPORT = "train.jsonl", "validation.jsonl", "report.json"
PROGRESS = "progress.json"
TOLD_EVERY_S = 1.0


class Options(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`file` came under the name `name`; what is written goes into the folder `output`."""

    file: Path
    name: str
    output: Path
    held_out: float = 0.0  # share of rows for validation
    validation: Path | None = None  # or a file of its own, in the same format
    validation_name: str = ""  # under which that came; else its file's
    base: Path | None = None  # whose template and vocabulary count the tokens
    max_length: int = 2_048
    columns: dict[str, str] | None = None  # a person's choice in place of the found ones
    parent: int = 0  # process without which this one ends


def run(options: Options, measure: Measure | None = None) -> Report:
    """Raises: OSError. What is wrong with the file is in the report, which `save` keeps."""
    findings = Findings()
    options.output.mkdir(parents=True, exist_ok=True)
    try:
        writing = sources.writing_of(options.file, options.name)
    except Defect as defect:
        findings.extend(0, [defect])
        return _finished(Report(writing="text"), findings)
    report = Report(writing=writing)
    head, rest = _looked_at(options.file, writing)
    try:
        found = _found(head, options)
    except Defect as defect:
        broken = [(line, value) for line, value in head if isinstance(value, Defect)]
        for line, value in broken:
            findings.extend(line, [value])
        if len(broken) < len(head) or not head:
            findings.extend(0, [defect if head else Defect("empty_file", "The file has no rows.")])
        report.rows = len(head)
        return _finished(report, findings)
    report.shape, report.format, report.columns = found.shape.name, found.format, found.columns
    _Writer(options, report, findings, found, measure).write(itertools.chain(head, rest))
    return _finished(report, findings)


def _looked_at(file: Path, writing: sources.Writing) -> tuple[list[Row], Iterator[Row]]:
    rows = sources.rows(file, writing)
    return list(itertools.islice(rows, shapes.LOOKED_AT)), rows


def _found(head: list[Row], options: Options) -> shapes.Found:
    """Raises: Defect."""
    found = shapes.detect(value for _, value in head)
    return found if options.columns is None else shapes.Found(found.shape, options.columns)


class _Writer:
    """Takes rows through all checks into the files of the parts."""

    def __init__(
        self,
        options: Options,
        report: Report,
        findings: Findings,
        found: shapes.Found,
        measure: Measure | None,
    ) -> None:
        self._options, self._report, self._findings = options, report, findings
        self._found, self._measure = found, measure
        self._seen = repeats.Seen()
        self._told_at = time.monotonic()

    def write(self, rows: Iterator[Row]) -> None:
        options, report = self._options, self._report
        train, validation = _Out(options.output / TRAIN), _Out(options.output / VALIDATION)
        with train, validation:
            for line, row in self._checked(rows, self._seen.check):
                held = repeats.is_held_out(row, options.held_out) if options.held_out else False
                (validation if held else train).put(row)
                if len(report.samples) < SAMPLES:
                    report.samples.append({"line": line, **row})
            if options.validation is not None:
                self._write_validation(options.validation, validation)
        report.train, report.validation = train.part(), validation.part()
        report.kept = train.rows + validation.rows
        if report.kept and train.rows < FEWEST:
            words = f"Only {train.rows} rows can be learned."
            self._findings.extend(0, [Defect("too_few_rows", words)])

    def _write_validation(self, file: Path, out: "_Out") -> None:
        try:
            rows = sources.rows(
                file, sources.writing_of(file, self._options.validation_name or file.name)
            )
        except Defect as defect:
            self._findings.extend(0, [defect])
            return
        for _, row in self._checked(rows, lambda _, row: self._seen.leaked(row), "validation: "):
            out.put(row)

    def _checked(
        self,
        rows: Iterator[Row],
        repeated: Callable[[int, Row_], Iterator[Defect]],
        prefix: str = "",
    ) -> Iterator[tuple[int, Row_]]:
        """Give the rows that may be learned."""
        for line, value in rows:
            self._report.rows += 1
            row, defects = self._row(value)
            if row is not None:
                defects += repeated(line, row)
            if row is not None and self._measure is not None:
                defects += self._measure(row)
            self._findings.extend(line, (_said(prefix, defect) for defect in defects))
            self._tell()
            if row is not None and not any(d.at(line).severity == "error" for d in defects):
                yield line, row

    def _tell(self) -> None:
        """Leave word of how far it is, for whoever waits for the report."""
        if time.monotonic() - self._told_at < TOLD_EVERY_S:
            return
        self._told_at = time.monotonic()
        found = self._findings
        errors, warnings = found.of("error"), found.of("warning")
        progress = Progress(rows=self._report.rows, errors=errors, warnings=warnings)
        _write(progress, self._options.output / PROGRESS)

    def _row(self, value: Any) -> tuple[Row_ | None, list[Defect]]:
        if isinstance(value, Defect):
            return None, [value]
        row, defects = normal.normal(self._found, value)
        if row is not None:
            defects += texts.check(row)
            self._report.characters += sum(len(text) for _, text in texts.texts(row))
        return row, defects


def _said(prefix: str, defect: Defect) -> Defect:
    return Defect(defect.code, prefix + defect.message, defect.path)


class _Out:
    """A JSONL file that appears whole; an empty one does not appear."""

    def __init__(self, path: Path) -> None:
        self._path, self._scratch = path, path.with_suffix(".part")
        self.rows = self._bytes = 0
        self._sha256 = hashlib.sha256()

    def __enter__(self) -> "_Out":
        self._file: IO[bytes] = self._scratch.open("wb")
        return self

    def put(self, row: Row_) -> None:
        data = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        self._file.write(data)
        self._sha256.update(data)
        self.rows += 1
        self._bytes += len(data)

    def __exit__(self, kind: object, *_: object) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        if kind is None and self.rows:
            self._scratch.replace(self._path)
        else:
            self._scratch.unlink()

    def part(self) -> Part | None:
        if not self.rows:
            return None
        return Part(
            name=self._path.name,
            rows=self.rows,
            size_bytes=self._bytes,
            sha256=self._sha256.hexdigest(),
        )


def _finished(report: Report, findings: Findings) -> Report:
    report.findings = sorted(findings.kept, key=lambda finding: finding.line)
    report.counts = dict(findings.counts)
    report.errors, report.warnings = findings.of("error"), findings.of("warning")
    return report


def save(report: Report, folder: Path) -> None:
    _write(report, folder / REPORT)
    (folder / PROGRESS).unlink(missing_ok=True)


def _write(found: Report | Progress, file: Path) -> None:
    """Let it appear whole."""
    scratch = file.with_suffix(".json.part")
    scratch.write_bytes(msgspec.json.encode(found))
    scratch.replace(file)
