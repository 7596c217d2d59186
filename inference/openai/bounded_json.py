"""The one reader of JSON bodies: bounded in bytes, depth and values, and strict about the rest.

Refused: what two readers could understand differently (duplicate keys, NaN, lone surrogates) and
what could break something behind us (NUL, numbers that no float holds).
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from inference.errors import InvalidJSON, InvalidValue, RequestTooLarge

JSON = dict[str, "JSON"] | list["JSON"] | str | int | float | bool | None

Path = tuple["Path", str | int] | None  # from the inside out, so that a step costs nothing

MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 32
MAX_VALUES = 1_000_000
SHOWN_CHARS = 60
# One pass whatever comes: a string that never ends goes to the end, and nothing is tried twice.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_SUSPECT = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")


def fields_of(data: bytes | dict[str, Any]) -> dict[str, Any]:
    """Parse what is not parsed yet. Raises: as `parse_object`."""
    return data if isinstance(data, dict) else parse_object(data)


def parse_object(data: bytes) -> dict[str, JSON]:
    """Read a request's body, which must be an object.

    Raises: RequestTooLarge; InvalidJSON; InvalidValue naming the place.
    """
    value = parse(data)
    if not isinstance(value, dict):
        raise InvalidJSON('the body must be a JSON object, such as {"model": "..."}')
    return value


def parse(data: bytes, max_bytes: int = MAX_BYTES) -> JSON:
    """Raises: RequestTooLarge; InvalidJSON; InvalidValue naming the place."""
    if len(data) > max_bytes:
        raise RequestTooLarge(f"the body is over the limit of {max_bytes} bytes")
    _check_count(data)
    value = _decode(data)
    if data.count(b"[") + data.count(b"{") > MAX_DEPTH:
        _check_depth(value)
    if _SUSPECT.search(data):
        _check_strings(value)
    return value


def _decode(data: bytes) -> JSON:
    try:
        value: JSON = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_pairs,
            parse_constant=_constant,
            parse_float=_finite,
        )
    except UnicodeDecodeError as error:
        raise InvalidJSON(f"the body is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InvalidJSON(f"the body is not valid JSON: {error.msg} at {place}") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # Python's own limit on the digits of an integer
        raise InvalidJSON("the body holds a number with too many digits") from None
    return value


def _pairs(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidJSON(f"the key {_shown(_twice(pairs))} is there twice in one object")
    return found


def _twice(pairs: list[tuple[str, JSON]]) -> str:
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return key
        seen.add(key)
    raise AssertionError("every key is there once")


def _constant(name: str) -> NoReturn:
    raise InvalidJSON(f"{name} is not valid JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidJSON(f"the number {_shown(text)} is too large")
    return number


def _shown(text: str) -> str:
    cut = text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "..."
    return ascii(cut)


def _check_count(data: bytes) -> None:
    """Bound what the values may cost in memory before any is made."""
    if _values(data) > MAX_VALUES and _values(_STRING.sub(b'""', data)) > MAX_VALUES:
        raise InvalidJSON(f"the body holds more than {MAX_VALUES} values")


def _values(data: bytes) -> int:
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def _too_deep() -> InvalidJSON:
    return InvalidJSON(f"the body is nested more than {MAX_DEPTH} levels deep")


def _check_depth(value: JSON) -> None:
    level: list[JSON] = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [child for parent in level for child in _containers(parent)]
        if not level:
            return
    raise _too_deep()


def _containers(parent: JSON) -> list[JSON]:
    children = parent.values() if isinstance(parent, dict) else parent
    if isinstance(children, str | int | float | None):
        return []
    return [child for child in children if isinstance(child, dict | list)]


def _check_strings(value: JSON) -> None:
    for path, text in _strings(value, None):
        if "\0" not in text and _encodes(text):
            continue
        place = _place(path)
        if "\0" in text:
            raise InvalidValue(f"{place or 'the body'} holds a NUL character", param=place or None)
        message = f"{place or 'the body'} holds half of a surrogate pair"
        raise InvalidValue(message, param=place or None)


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _strings(value: JSON, path: Path) -> Iterator[tuple[Path, str]]:
    """Give every string, keys included, with its place. The depth was checked before."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for at, item in enumerate(value):
            if isinstance(item, str | list | dict):
                yield from _strings(item, (path, at))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield path, key
            yield from _strings(item, (path, key))


def _place(path: Path) -> str:
    """Write a place as `messages[0].content`, no longer than a message needs."""
    place = ""
    while path is not None:
        path, part = path
        shown = f"[{part}]" if isinstance(part, int) else f".{part[:SHOWN_CHARS]}"
        place = shown + place
    return place.removeprefix(".")
