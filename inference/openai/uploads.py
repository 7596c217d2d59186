"""Files in parts as OpenAI's API shows them, and what a client may say of one."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from inference.openai.fields import convert, invalid
from inference.openai.files import PURPOSES, FileEntry, file_name

MAX_UPLOAD_BYTES = 8 * 2**30
MAX_PART_BYTES = 64 * 2**20
MAX_PARTS = 1_024
PartId = Annotated[str, Meta(min_length=1, max_length=64)]


class Expiry(msgspec.Struct, forbid_unknown_fields=True):
    anchor: Literal["created_at"]
    seconds: Annotated[int, Meta(ge=3_600, le=2_592_000)]


class Create(msgspec.Struct, forbid_unknown_fields=True):
    filename: str
    purpose: str
    bytes: Annotated[int, Meta(ge=1, le=MAX_UPLOAD_BYTES)]
    mime_type: Annotated[str, Meta(max_length=127)]
    expires_after: Expiry | None = None


class Complete(msgspec.Struct, forbid_unknown_fields=True):
    part_ids: Annotated[list[PartId], Meta(min_length=1, max_length=MAX_PARTS)]
    md5: Annotated[str, Meta(max_length=32)] | None = None


class UploadEntry(msgspec.Struct, kw_only=True):
    """One upload; `file` is there once it is complete."""

    id: str
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: str
    file: FileEntry | None = None
    object: str = msgspec.field(default_factory=lambda: "upload")


class PartEntry(msgspec.Struct, kw_only=True):
    id: str
    created_at: int
    upload_id: str
    object: str = msgspec.field(default_factory=lambda: "upload.part")


def create(fields: dict[str, Any]) -> Create:
    """Raises: InvalidValue, MissingParameter, UnknownParameter."""
    wanted = convert(fields, Create)
    if wanted.purpose not in PURPOSES:
        raise invalid("purpose", f"it must be one of {', '.join(PURPOSES)}")
    wanted.filename = file_name(wanted.filename)
    return wanted


def complete(fields: dict[str, Any]) -> Complete:
    """Raises: InvalidValue, MissingParameter, UnknownParameter."""
    return convert(fields, Complete)
