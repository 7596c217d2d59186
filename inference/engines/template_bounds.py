"""How large a value of a chat template may be, checked before it is made wherever that can be known.

What is checked takes little time by itself, so that the deadline between two such steps is kept: a
library's own loop over a number of a million digits, or over a list that holds itself a billion times,
would end for nobody. Called by `templates`.
"""

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.filters import do_round

OUTPUT_LIMIT_CHARS = 32 * 1024 * 1024
MAX_NODES = 200_000  # of a list with all that it holds, counted as often as it is held
MAX_BITS = 1024  # of a whole number
MAX_INDENT, MAX_DIGITS = 1000, 30  # of a line; of a rounded number
SEQUENCES = (list, tuple, set, frozenset)
TOO_LARGE = object()
Filter = Callable[..., Any]


def refuse_over(size: float, most: float = OUTPUT_LIMIT_CHARS) -> None:
    """Raises: SecurityError."""
    if size > most:
        raise SecurityError("the template makes a value that is too large")


def checked(value: Any) -> Any:
    """Give the value back. Raises: SecurityError."""
    if isinstance(value, str | bytes):
        refuse_over(len(value))
    elif isinstance(value, (*SEQUENCES, dict)):
        weight(value)
    elif isinstance(value, int):
        refuse_over(value.bit_length(), MAX_BITS)
    elif isinstance(value, Iterator):
        return map(checked, value)
    return value


def weight(value: Any) -> int:
    """Count characters and items of all that a value holds. Raises: SecurityError.

    Without a call for each item: the deadline's own check takes its time.
    """
    chars = nodes = 0
    left = [value]
    while left:
        item = left.pop()
        nodes += 1
        if isinstance(item, str):
            chars += len(item)
        elif isinstance(item, SEQUENCES):
            left += item if len(item) <= MAX_NODES else [TOO_LARGE]
        elif isinstance(item, dict):
            left += [*item, *item.values()] if len(item) <= MAX_NODES else [TOO_LARGE]
        if item is TOO_LARGE or nodes + len(left) > MAX_NODES or chars > OUTPUT_LIMIT_CHARS:
            refuse_over(math.inf)
    return chars + nodes


# --- operators --------------------------------------------------------------------------------------


def check_operands(operator: str, left: Any, right: Any) -> None:
    """Raises: SecurityError."""
    match operator, _is_sized(left), _is_sized(right):
        case "+", True, True:
            refuse_over(_length(left) + _length(right))
        case "*", True, False:
            refuse_over(weight(left) * float(right))
        case "*", False, True:
            refuse_over(weight(right) * float(left))
        case _, False, False if isinstance(left, int) and isinstance(right, int):
            _check_numbers(operator, left, right)


def _is_sized(value: Any) -> bool:
    return isinstance(value, str | list | tuple)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else weight(value)


def _check_numbers(operator: str, left: int, right: int) -> None:
    bits = left.bit_length(), right.bit_length()
    refuse_over(max(bits), MAX_BITS)
    if operator == "**":
        refuse_over(bits[0] * max(right, 0), MAX_BITS)


# --- filters ----------------------------------------------------------------------------------------


def bounded(made: Filter) -> Filter:
    """Check what a filter gives; `wraps` keeps what it asks of jinja."""

    @functools.wraps(made)
    def call(*given: Any, **named: Any) -> Any:
        return checked(made(*given, **named))

    return call


def same(value: Any) -> Any:
    """A filter for what is written as a list, a tuple or an object."""
    return value


def replace(text: str, old: str, new: str, count: int = -1) -> str:
    times = text.count(old) if count < 0 else min(count, text.count(old))
    refuse_over(len(text) + times * len(new))
    return text.replace(old, new, times)


def join(text: str, parts: Iterable[str]) -> str:
    kept, size = [], 0
    for part in parts:
        kept.append(part)
        size += len(text) + len(part)
        refuse_over(size)
    return text.join(kept)


def replace_filter(value: Any, old: str, new: str, count: int | None = None) -> str:
    return replace(str(value), str(old), str(new), -1 if count is None else count)


def join_filter(value: Iterable[Any], d: str = "", attribute: str | None = None) -> str:
    parts = value if attribute is None else (item[attribute] for item in value)
    return join(str(d), (str(part) for part in parts))


def indent_filter(
    value: Any, width: int | str = 4, first: bool = False, blank: bool = False
) -> str:
    """Source: jinja's own; the space is bounded before it is made."""
    if not isinstance(width, str):
        refuse_over(width, MAX_INDENT)
    space = width if isinstance(width, str) else " " * width
    text = f"{value}\n"
    refuse_over(len(text) + text.count("\n") * len(space))
    lines = text.splitlines()
    rest = [space + line if line or blank else line for line in lines[1:]]
    whole = "\n".join([*lines[:1], *rest])
    return space + whole if first else whole


def round_filter(value: Any, precision: int = 0, method: Any = "common") -> Any:
    refuse_over(abs(int(precision)), MAX_DIGITS)
    return do_round(value, precision, method)


METHODS: dict[str, Callable[..., str]] = {"replace": replace, "join": join}
FILTERS: dict[str, Filter] = {
    "replace": replace_filter,
    "join": join_filter,
    "indent": indent_filter,
    "round": round_filter,
}
