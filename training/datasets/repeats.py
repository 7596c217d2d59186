"""Rows that come twice, questions with two answers, and validation rows that are in the training data."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from training.datasets.findings import Defect

MAX_ROWS = 2_000_000  # 21 MiB for 90,000 rows were measured; beyond it, nothing more is remembered


def digest(value: Any) -> int:
    """Eight bytes of a hash: of a million rows, two meet by chance once in 37 million files."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def question(row: dict[str, Any]) -> Any:
    """What the model is asked; None where all of the row is learned."""
    if "chosen" in row:
        return row.get("messages", row.get("prompt"))
    if "completion" in row:
        return row["prompt"]
    return row["messages"][:-1] or None if "messages" in row else None


class Seen:
    """Remembers the digests of rows and of their questions, with the line of the first."""

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}
        self._questions: dict[int, int] = {}

    def check(self, line: int, row: dict[str, Any]) -> Iterator[Defect]:
        key = digest(row)
        if (first := self._rows.get(key)) is not None:
            yield Defect("duplicate", f"The row is the same as row {first}.")
            return
        asked = question(row)
        if asked is not None and (first := self._asked(line, digest(asked))) is not None:
            yield Defect("conflict", f"Row {first} has the same question and another answer.")
        if len(self._rows) < MAX_ROWS:
            self._rows[key] = line

    def _asked(self, line: int, key: int) -> int | None:
        if key in self._questions:
            return self._questions[key]
        if len(self._questions) < MAX_ROWS:
            self._questions[key] = line
        return None

    def leaked(self, row: dict[str, Any]) -> Iterator[Defect]:
        """For a row of the validation data, after all of the training data was checked."""
        first = self._rows.get(digest(row))
        if first is not None:
            yield Defect("leakage", f"The row is in the training data too, as row {first}.")


def is_held_out(row: dict[str, Any], share: float) -> bool:
    """Split by the hash of the question: the same row falls on the same side in every version."""
    asked = question(row)
    return digest(row if asked is None else asked) % 10_000 < share * 10_000
