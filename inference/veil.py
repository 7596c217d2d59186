"""What the node says, for somebody who may not see all models: hidden ones lose their names. Pure.

Their memory and their place in a queue stay, or the figures would not add up.
"""

import copy
import re
from collections.abc import Collection
from typing import Any, TypeVar

import msgspec

from inference.errors import HubError, ModelNotFound

NAMELESS = "another team's model"
TEXTS = frozenset({"name", "model", "reason", "detail"})
T = TypeVar("T")


def veiled(value: T, hidden: Collection[str]) -> T:
    """Give the same message with these names replaced, in texts too."""
    return _walk(value, _pattern(hidden)) if hidden else value  # type: ignore[return-value]


def text(words: str, hidden: Collection[str]) -> str:
    return _pattern(hidden).sub(NAMELESS, words) if hidden else words


def told(error: HubError, hidden: Collection[str]) -> HubError:
    """Give the same error with these names replaced; that a name is not there is said of every name."""
    if not hidden or isinstance(error, ModelNotFound):
        return error
    pattern, veiled_error = _pattern(hidden), copy.copy(error)
    veiled_error.message = pattern.sub(NAMELESS, error.message)
    details: Any = _walk(error.details, pattern)
    veiled_error.details = details
    return veiled_error


def _pattern(hidden: Collection[str]) -> re.Pattern[str]:
    """A name ends where no further character of a name follows; a sentence may end after it."""
    names = "|".join(re.escape(name) for name in sorted(hidden, key=len, reverse=True))
    return re.compile(rf"(?<![\w.:@+/-])(?:{names})(?![\w:@+/-]|\.\w)")


def _walk(value: object, pattern: re.Pattern[str], *, is_text: bool = False) -> object:
    if isinstance(value, str):
        return pattern.sub(NAMELESS, value) if is_text else value
    if isinstance(value, list):
        return [_walk(one, pattern) for one in value]
    if isinstance(value, dict):
        return {name: _walk(one, pattern, is_text=name in TEXTS) for name, one in value.items()}
    if isinstance(value, msgspec.Struct):
        fields = {name: getattr(value, name) for name in value.__struct_fields__}
        new = {n: _walk(v, pattern, is_text=n in TEXTS) for n, v in fields.items()}
        return msgspec.structs.replace(value, **{n: v for n, v in new.items() if v != fields[n]})
    return value
