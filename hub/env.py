"""Typed readers of AI_HUB_* variables, each also as AI_HUB_*_FILE; hub.settings calls them.

A bad value is remembered in `problems` and its default is used, so that one system check can name
every mistake at once instead of a traceback at the first one.
"""

import os
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal, TypeVar

PREFIX = "AI_HUB_"
NOT_OURS = (PREFIX + "TEST_", PREFIX + "KEY")  # the tests' own, and a client's in our examples
KNOWN_ELSEWHERE = frozenset({"MLFLOW_TRACKING_URI"})  # under the name that its own project gave it
# As the pages count: 24G are 24 GB of 10^9 bytes; 24Gi, or 24GiB, are the larger ones of 2^30.
UNITS_BYTES = {
    "": 1,
    **{unit: 1000**power for power, unit in enumerate("KMGT", 1)},
    **{f"{unit}I": 1024**power for power, unit in enumerate("KMGT", 1)},
}

Value = TypeVar("Value")
Source = Literal["default", "variable", "file"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A variable that cannot be used as it stands, and how to mend it."""

    name: str
    message: str

    def __str__(self) -> str:
        return f"{self.name}: {self.message}"


@dataclass(frozen=True, slots=True)
class Setting:
    """What a variable came to, without its secrets, and where that was said."""

    name: str
    value: str | None  # empty: nothing is set; None: a secret
    source: Source


problems: list[Problem] = []
asked: set[str] = set()  # names that were read: all others are nobody's
in_effect: dict[str, Setting] = {}


def full(name: str) -> str:
    return name if name.removesuffix("_FILE") in KNOWN_ELSEWHERE else PREFIX + name


def raw(name: str) -> str | None:
    """Give the text of AI_HUB_<name>, or of the file that AI_HUB_<name>_FILE names."""
    asked.add(name)
    direct, file_name = os.environ.get(full(name)), os.environ.get(f"{full(name)}_FILE")
    if direct and file_name:
        _complain(name, f"is set together with {full(name)}_FILE; remove one of the two")
        return direct
    if file_name:
        return _from_file(name, Path(file_name))
    return direct or None


def unknown() -> dict[str, str]:
    """Give the variables that nothing reads, each with the nearest name that something does."""
    known = {full(name) + twin for name in asked for twin in ("", "_FILE")}
    mine = {name for name in os.environ if name.startswith(PREFIX)}
    strange = sorted(name for name in mine - known if not name.startswith(NOT_OURS))
    return {name: next(iter(get_close_matches(name, known, 1)), "") for name in strange}


def text(name: str, default: str = "") -> str:
    return _kept(name, raw(name) or default)


def integer(name: str, default: int, *, low: int, high: int) -> int:
    def parse(value: str) -> int:
        number = int(value)
        if not low <= number <= high:
            raise ValueError(value)
        return number

    return _read(name, default, parse, f"a whole number from {low} to {high}")


def choice(name: str, default: str, options: Collection[str]) -> str:
    def parse(value: str) -> str:
        if value.lower() not in options:
            raise ValueError(value)
        return value.lower()

    return _read(name, default, parse, "one of " + ", ".join(sorted(options)))


def path(name: str, default: Path) -> Path:
    """Give an absolute path; a relative one counts from the current folder."""
    value = raw(name)
    return _kept(name, Path(value).expanduser().absolute() if value else default)


def names(name: str, default: Collection[str] = ()) -> list[str]:
    """Read a comma-separated list."""
    value = raw(name)
    found = list(default) if value is None else [part.strip() for part in value.split(",")]
    return _kept(name, [part for part in found if part])


def networks(name: str) -> list[IPv4Network | IPv6Network]:
    """Read a comma-separated list of networks, such as 10.1.0.0/16."""

    def parse(value: str) -> list[IPv4Network | IPv6Network]:
        return [ip_network(part.strip()) for part in value.split(",") if part.strip()]

    return _read(name, [], parse, "networks such as 10.1.0.0/16, with commas")


def bytes_of(text: str) -> int:
    """Read bytes with or without a unit. Raises: ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*((?:[KMGT]I?)?)B?", text.upper())
    if match is None:
        raise ValueError(text)
    size: int = round(float(match[1]) * UNITS_BYTES[match[2]])
    return size


def byte_size(name: str, default: int = 0, *, low: int = 0) -> int:
    """Read bytes with their unit: 800M, 24G, 1.5GiB. 0 stands for the default."""

    def parse(value: str) -> int:
        size = bytes_of(value)
        if 0 < size < low:
            raise ValueError(value)
        return size or default

    def show(value: int) -> str:
        return f"{value:,} bytes" if value else ""

    least = f" of at least {low // 10**6}M (a bare number counts bytes)" if low else ""
    return _read(name, default, parse, f"a size such as 800M or 24G{least}", show=show)


def url(name: str, default: str, schemes: Collection[str]) -> str:
    def parse(value: str) -> str:
        scheme, separator, rest = value.partition(":")
        if scheme not in schemes or not separator or not rest:
            raise ValueError(value)
        return value.rstrip("/")

    # The value may hold a password: it is not shown.
    wanted = "an address that starts with " + ", ".join(f"{scheme}:" for scheme in sorted(schemes))
    return _read(name, default, parse, wanted, secret=True, show=_without_password)


def secret(name: str) -> str | None:
    """Read a secret of at least 32 characters; it is never shown."""

    def parse(value: str) -> str | None:
        if len(value) < 32:
            raise ValueError
        return value

    wanted = "at least 32 characters long"
    return _read(name, None, parse, wanted, secret=True, show=lambda _secret: None)


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _without_password(address: str) -> str:
    """Cut who signs in, and the query, out of an address."""
    return re.sub(r"//.*@", "//", address).partition("?")[0]


def _read(
    name: str,
    default: Value,
    parse: Callable[[str], Value],
    wanted: str,
    *,
    secret: bool = False,
    show: Callable[[Value], str | None] = _shown,
) -> Value:
    return _kept(name, _parsed(name, default, parse, wanted, secret=secret), show)


def _parsed(
    name: str, default: Value, parse: Callable[[str], Value], wanted: str, *, secret: bool
) -> Value:
    value = raw(name)
    if value is None:
        return default
    try:
        return parse(value.strip())
    except ValueError:
        shown = "its value" if secret else repr(value)
        _complain(name, f"must be {wanted}; {shown} is not")
        return default


def _kept(name: str, value: Value, show: Callable[[Value], str | None] = _shown) -> Value:
    """Remember what a page may show of a setting."""
    in_effect[full(name)] = Setting(full(name), show(value), _source(full(name)))
    return value


def _source(full_name: str) -> Source:
    if os.environ.get(full_name):
        return "variable"
    return "file" if os.environ.get(f"{full_name}_FILE") else "default"


def _from_file(name: str, file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n") or None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        _complain(f"{name}_FILE", f"cannot be read: {file}: {reason}")
        return None


def _complain(name: str, message: str) -> None:
    problem = Problem(full(name), message)
    if problem not in problems:
        problems.append(problem)
