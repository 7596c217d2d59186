"""Which of the known shapes the rows of a file have, and which column takes which part."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from training.contract import Format
from training.datasets.findings import Defect, shown

Name = Literal[
    "chat", "sharegpt", "openai_preference", "preference", "alpaca", "completion", "text"
]
LOOKED_AT = 200  # rows


class Shape(msgspec.Struct, frozen=True):
    """`parts` names each part that is needed and the columns that may hold it; `also` what may be there."""

    name: Name
    format: Format
    parts: dict[str, tuple[str, ...]]
    also: dict[str, tuple[str, ...]] = {}


class Found(msgspec.Struct, frozen=True):
    """A shape, and for each of its parts the column of this file."""

    shape: Shape
    columns: dict[str, str]

    @property
    def format(self) -> Format:
        return self.shape.format

    def get(self, row: Mapping[str, Any], part: str, default: Any = None) -> Any:
        return row.get(self.columns.get(part, part), default)


_TOOLS = {"tools": ("tools", "functions")}
_PROMPT = ("prompt", "question", "query", "input", "user", "instruction")
_ANSWER = ("completion", "response", "answer", "output", "target", "assistant", "label")
# The first that fits most rows is taken: those with names of their own come first.
SHAPES = (
    Shape(
        "openai_preference",
        "preference",
        {
            "input": ("input",),
            "chosen": ("preferred_output",),
            "rejected": ("non_preferred_output",),
        },
    ),
    Shape(
        "preference",
        "preference",
        {"chosen": ("chosen", "preferred"), "rejected": ("rejected", "dispreferred")},
        {"prompt": ("prompt", "question", "instruction", "input"), "messages": ("messages",)}
        | _TOOLS,
    ),
    Shape(
        "chat",
        "chat",
        {"messages": ("messages",)},
        _TOOLS | {"parallel_tool_calls": ("parallel_tool_calls",)},
    ),
    Shape(
        "sharegpt",
        "chat",
        {"conversations": ("conversations", "conversation")},
        _TOOLS | {"system": ("system",)},
    ),
    Shape(
        "alpaca",
        "chat",
        {"instruction": ("instruction",), "output": ("output", "response")},
        {"input": ("input", "context"), "system": ("system",), "history": ("history",)},
    ),
    Shape("completion", "completion", {"prompt": _PROMPT, "completion": _ANSWER}),
    Shape("text", "text", {"text": ("text", "content", "document", "body")}),
)


def detect(rows: Iterable[Any]) -> Found:
    """Look at some rows. Raises: Defect, which lists what was found instead."""
    objects = [row for row in rows if isinstance(row, dict)]
    fits = [
        (sum(found is not None for found in (fit(shape, row) for row in objects)), shape)
        for shape in SHAPES
    ]
    most, shape = max(fits, key=lambda entry: entry[0], default=(0, SHAPES[0]))
    if not most:
        raise Defect("unknown_format", _words(objects))
    fitting = [found for row in objects if (found := fit(shape, row)) is not None]
    columns = {part: name for found in fitting for part, name in found.columns.items()}
    return Found(shape, columns | fitting[0].columns)


def fit(shape: Shape, row: Mapping[str, Any]) -> Found | None:
    """Give the columns of a shape in this row, or None where a needed part has none."""
    names = {name.lower().strip(): name for name in row}
    columns: dict[str, str] = {}
    for part, candidates in shape.parts.items():
        column = _column(candidates, names, columns)
        if column is None:
            return None
        columns[part] = column
    for part, candidates in shape.also.items():
        if (column := _column(candidates, names, columns)) is not None:
            columns[part] = column
    return Found(shape, columns)


def _column(
    candidates: tuple[str, ...], names: Mapping[str, str], taken: Mapping[str, str]
) -> str | None:
    free = (names[name] for name in candidates if name in names)
    return next((name for name in free if name not in taken.values()), None)


def _words(objects: list[dict[str, Any]]) -> str:
    if not objects:
        return "No row is an object with named fields."
    names = ", ".join(shown(name) for name in list(objects[0])[:12])
    return f"No known format has these fields: {names}."
