"""The audit log as NDJSON, which can be verified again, or as CSV for spreadsheets."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from accounts import chain, csv_text

COLUMNS = (*chain.FIELDS, "hash")
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Format:
    """How a file of rows is written."""

    content_type: str
    head: str
    line: Callable[[Row], str]


def lines(kind: str, rows: Iterable[Row]) -> Iterator[str]:
    """Give the file by line."""
    yield FORMATS[kind].head
    yield from map(FORMATS[kind].line, rows)


def read(text: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Read NDJSON back. Raises: ValueError that names the line."""
    for number, line in enumerate(text, start=1):
        try:
            row = json.loads(line)
            yield {name: row[name] for name in COLUMNS}
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"line {number} is no row of an audit log: {error}") from error


def _json_line(row: Row) -> str:
    return json.dumps({name: row[name] for name in COLUMNS}, ensure_ascii=False) + "\n"


def _csv_line(row: Row) -> str:
    return _cells(row[name] for name in COLUMNS)


def _cells(cells: Iterable[object]) -> str:
    out = io.StringIO()
    csv.writer(out).writerow([csv_text.cell(cell) for cell in cells])
    return out.getvalue()


FORMATS = {
    "ndjson": Format("application/x-ndjson", "", _json_line),
    "csv": Format("text/csv; charset=utf-8", _cells(COLUMNS), _csv_line),
}
