"""Reading the validated JSONL files, row by row, into examples. Rows that teach nothing are counted."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training import contract
from training.recipes.recipe import Recipe
from training.run import packing
from training.run.rendering import BadRow, Example, Pair, Renderer, cut

__all__ = ["BadData", "BadRow", "Read", "read", "rows"]


class BadData(Exception):
    """The data cannot be trained on: exit code 64. `detail` goes into the event."""

    def __init__(self, code: str, message: str, detail: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code, self.detail = code, detail or {}


@dataclass(slots=True)
class Read:
    """What a file gave; `order` is the digest of the token ids in their order."""

    examples: list[Example] = field(default_factory=list)
    pairs: list[Pair] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    first_left_out: dict[str, int] = field(default_factory=dict)  # code -> line
    cut_rows: int = 0
    rows: int = 0
    order: str = ""

    def leave_out(self, code: str, line: int) -> None:
        self.left_out[code] += 1
        self.first_left_out.setdefault(code, line)


def rows(file: Path) -> Iterator[tuple[int, Any]]:
    """Give line numbers from 1 and rows. Raises: BadData."""
    with file.open("rb") as stream:
        for line, data in enumerate(stream, 1):
            if not data.strip():
                continue
            try:
                row = json.loads(data)
            except ValueError as error:
                raise BadData(
                    "bad_json", f"line {line} is no JSON: {error}", {"line": line}
                ) from None
            if not isinstance(row, dict):
                raise BadData("bad_row", f"line {line} is no JSON object", {"line": line})
            yield line, row


def read(file: Path, form: contract.Format, renderer: Renderer, recipe: Recipe) -> Read:
    """Raises: BadData, OSError."""
    found, digest = Read(), hashlib.sha256()
    make = MAKERS[form]
    for line, row in rows(file):
        found.rows += 1
        try:
            made = make(renderer, row, recipe)
        except BadRow as error:
            found.leave_out(error.code, line)
            continue
        except (KeyError, TypeError, AttributeError) as error:
            raise BadData(
                "wrong_format",
                f"line {line} is no row of the format {form}: {error!r}",
                {"line": line},
            ) from None
        _keep(found, made, line, recipe)
        digest.update(repr(made).encode())
    found.order = digest.hexdigest()
    return found


def _keep(found: Read, made: Example | Pair, line: int, recipe: Recipe) -> None:
    parts = [made] if isinstance(made, Example) else [made.chosen, made.rejected]
    parts = [cut(part, recipe.max_length) for part in parts]
    if not all(part.supervised for part in parts):
        over = any(part.cut for part in parts)
        found.leave_out("nothing_left_to_learn" if over else "nothing_to_learn", line)
        return
    found.cut_rows += any(part.cut for part in parts) and recipe.objective != "pretrain"
    if isinstance(made, Example) and recipe.objective == "pretrain":
        found.examples += packing.split(made, recipe.max_length)
    elif isinstance(made, Example):
        found.examples.append(parts[0])
    else:
        found.pairs.append(Pair(*parts))


def _chat(renderer: Renderer, row: Any, recipe: Recipe) -> Example:
    return renderer.chat(row["messages"], row.get("tools"), recipe.train_on)


def _completion(renderer: Renderer, row: Any, recipe: Recipe) -> Example:
    made = renderer.completion(row["prompt"], row["completion"])
    return made if recipe.train_on != "all" else renderer.text(row["prompt"] + row["completion"])


def _text(renderer: Renderer, row: Any, _recipe: Recipe) -> Example:
    return renderer.text(row["text"])


def _preference(renderer: Renderer, row: Any, _recipe: Recipe) -> Pair:
    return renderer.pair(row)


MAKERS: dict[contract.Format, Callable[[Renderer, Any, Recipe], Example | Pair]] = {
    "chat": _chat,
    "completion": _completion,
    "text": _text,
    "preference": _preference,
}
