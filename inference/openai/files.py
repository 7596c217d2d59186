"""Files as OpenAI's API shows them, and what a client may say of one."""

import re
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from inference.errors import MissingParameter
from inference.openai.fields import convert, invalid, number
from inference.openai.form import Form

MAX_FILE_BYTES = 512 * 2**20
PURPOSES = ("fine-tune", "batch", "user_data", "evals")
LONGEST_NAME = 255
_UNSEEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class FileEntry(msgspec.Struct, omit_defaults=True, kw_only=True):
    """One file; `status` is old, but clients wait for it."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    object: str = msgspec.field(default_factory=lambda: "file")
    status: str = msgspec.field(default_factory=lambda: "processed")
    expires_at: int | None = None


class Page(msgspec.Struct):
    data: list[Any]
    first_id: str | None
    last_id: str | None
    has_more: bool
    object: str = "list"


class Deleted(msgspec.Struct):
    id: str
    object: str = "file"
    deleted: bool = True


class Query(msgspec.Struct, forbid_unknown_fields=True):
    """Of a list; newest first unless `order` is asc."""

    purpose: Annotated[str, Meta(max_length=64)] = ""
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 10_000
    order: Literal["asc", "desc"] = "desc"
    after: Annotated[str, Meta(max_length=64)] = ""


class Wanted(msgspec.Struct):
    """What an upload's form says; `lives_s` None: for good."""

    filename: str
    purpose: str
    lives_s: int | None


def query(raw: dict[str, str]) -> Query:
    """Raises: InvalidValue."""
    typed: dict[str, Any] = dict(raw)
    if "limit" in raw:
        typed["limit"] = number("limit", raw["limit"])
    return convert(typed, Query)


def wanted(form: Form, has_file: bool) -> Wanted:
    """Raises: MissingParameter, InvalidValue."""
    fields = {name: values[-1] for name, values in form.fields.items()}
    lives_s = _lives_s(fields)
    purpose = fields.pop("purpose", None)
    if purpose is None:
        raise MissingParameter("Missing required parameter: 'purpose'.", param="purpose")
    if purpose not in PURPOSES:
        raise invalid("purpose", f"it must be one of {', '.join(PURPOSES)}")
    if not has_file:
        raise MissingParameter("Missing required parameter: 'file'.", param="file")
    for name in fields:
        raise invalid(name[:100], "no such parameter is known")
    return Wanted(file_name(form.filename), purpose, lives_s)


def file_name(given: str) -> str:
    """Keep the last part of a path, and nothing that is not seen. Raises: InvalidValue."""
    name = _UNSEEN.sub("", given.replace("\\", "/").rpartition("/")[2]).strip()
    if not name or len(name) > LONGEST_NAME:
        raise invalid("file", f"its name must have 1 to {LONGEST_NAME} characters")
    return name


def _lives_s(fields: dict[str, str]) -> int | None:
    anchor = fields.pop("expires_after[anchor]", None)
    seconds = fields.pop("expires_after[seconds]", None)
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise invalid("expires_after[anchor]", "it must be created_at")
    lives_s = number("expires_after[seconds]", seconds or "")
    if not 3_600 <= lives_s <= 2_592_000:
        raise invalid("expires_after[seconds]", "it must be 3600 to 2592000")
    return lives_s
