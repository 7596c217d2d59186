"""Checked fields: from untyped JSON to request structs, and every fault named by its place."""

import re
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from inference.errors import (
    HubError,
    InvalidValue,
    MissingParameter,
    UnknownParameter,
    UnsupportedParameter,
)

T = TypeVar("T", bound=msgspec.Struct)

MAX_TOKENS = 1_048_576
INT64 = 2**63
SHOWN_CHARS = 100  # of a strange field's name

ModelName = Annotated[str, Meta(min_length=1, max_length=256)]
Tokens = Annotated[int, Meta(ge=1, le=MAX_TOKENS)]
TokenId = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Label = Annotated[str, Meta(max_length=512)]
Metadata = Annotated[dict[Label, Label], Meta(max_length=16)]

_AT = re.compile(r" - at `(?:key in )?(?:`)?\$([^`]*)`$")
_FIELD = re.compile(r"^Object (?:contains unknown|missing required) field `(.*)`$", re.DOTALL)


def convert(raw: Any, shape: type[T]) -> T:
    """Read a JSON value as a struct.

    Raises: MissingParameter, UnknownParameter, InvalidValue, each with `param`.
    """
    try:
        return msgspec.convert(raw, shape)
    except msgspec.ValidationError as error:
        raise _fault(str(error)) from None


def _fault(text: str) -> HubError:
    place = _AT.search(text)
    what = text[: place.start()] if place else text
    path = place.group(1).lstrip(".") if place else ""
    field = _FIELD.match(what)
    if field is None:
        return invalid(path or None, what)
    name = field.group(1)[:SHOWN_CHARS]
    param = f"{path}.{name}" if path else name
    if "unknown" in what[:24]:
        return UnknownParameter(f"Unknown parameter: '{param}'.", param=param)
    return MissingParameter(f"Missing required parameter: '{param}'.", param=param)


def invalid(param: str | None, what: str) -> InvalidValue:
    """Say what is wrong with a parameter."""
    return InvalidValue(f"Invalid '{param}': {what}." if param else f"{what}.", param=param)


def unsupported(param: str, why: str) -> UnsupportedParameter:
    """Say that a parameter of OpenAI's is not offered here, and why."""
    return UnsupportedParameter(f"Unsupported parameter: '{param}': {why}.", param=param)


def number(name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise invalid(name, "it is no number")
    return int(text)
