"""What a model's README says of itself in its front matter: plain lines, read without a YAML parser."""

import re
from pathlib import Path

from inference.plain_files import open_plain

MAX_BYTES = 64 * 1024  # of a README that is looked at
KEY = re.compile(r"([A-Za-z_]+):[ \t]*(.*)")
ITEM = re.compile(r"[ \t]*-[ \t]+(.+)")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+/-]{0,63}")


def licence(folder: Path) -> str:
    """Give the licence that a folder's README names; empty where it names none."""
    matter = _front_matter(folder / "README.md")
    own = matter.get("license_name") if matter.get("license") == "other" else ""
    return own or matter.get("license", "")


def _front_matter(file: Path) -> dict[str, str]:
    """Read the scalars, and of lists the first entry."""
    try:
        with open_plain(file) as stream:
            lines = stream.read(MAX_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return {}
    if not lines or lines[0].strip() != "---":
        return {}
    found: dict[str, str] = {}
    last = ""
    for line in lines[1:]:
        if line.strip() == "---":
            return found
        if key := KEY.fullmatch(line):
            last = key[1]
            found[last] = _plain(key[2])
        elif (item := ITEM.fullmatch(line)) and not found.get(last, "-"):
            found[last] = _plain(item[1])
    return {}  # it never ended, so it was none


def _plain(value: str) -> str:
    """Take quotes and comments off; what is no short plain name counts as absent."""
    text = value.partition(" #")[0].strip().strip("[]").partition(",")[0].strip().strip("'\"")
    return text if NAME.fullmatch(text) else ""
