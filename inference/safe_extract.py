"""The one way into an archive: everything in it is checked by its directory before a byte is decoded.

`sources` reads pinned wheels by it; tests/hub/test_guards.py lets no other module import zipfile.
"""

import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

CHUNK_BYTES = 2**20
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
ENCRYPTED = 0x1  # Source: APPNOTE.TXT §4.4.4
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,  # a name or an offset that cannot be
)


class Hostile(Exception):
    """An archive is broken, or holds what no honest one does; the message names it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may hold; sizes are decoded ones."""

    file_bytes: int
    total_bytes: int = 16 * 2**30
    files: int = 20_000


def read(archive: Path, member: str, limits: Limits) -> Iterator[bytes]:
    """Give one file of a zip archive in chunks; it is never written by a name of the archive's.

    `file_bytes` binds this member alone, `total_bytes` all of them. Raises: Hostile, OSError.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            found = _checked(opened.infolist(), limits).get(member)
            if found is None:
                raise Hostile(f"it has no file {member}")
            if found.file_size > limits.file_bytes:
                raise Hostile(f"{member} is larger than {limits.file_bytes} bytes")
            yield from _decoded(opened, found)
    except BROKEN as error:
        raise Hostile(str(error) or type(error).__name__) from error


def _decoded(opened: zipfile.ZipFile, found: zipfile.ZipInfo) -> Iterator[bytes]:
    """The reader stops at the size that the directory names, and compares the checksum."""
    with opened.open(found) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield chunk


def _checked(infos: Iterable[zipfile.ZipInfo], limits: Limits) -> dict[str, zipfile.ZipInfo]:
    """Give the files by name. Raises: Hostile."""
    found: dict[str, zipfile.ZipInfo] = {}
    total = 0
    for info in infos:
        _check_one(info)
        if info.filename in found:
            raise Hostile(f"{info.filename!r} is there twice")
        found[info.filename] = info
        total += info.file_size
        if len(found) > limits.files:
            raise Hostile(f"it holds more than {limits.files} files")
        if total > limits.total_bytes:
            raise Hostile(f"it holds more than {limits.total_bytes} bytes")
    return {name: info for name, info in found.items() if not info.is_dir()}


def _check_one(info: zipfile.ZipInfo) -> None:
    """Raises: Hostile."""
    if not _is_plain_name(info.orig_filename):
        raise Hostile(f"{info.orig_filename!r} leads elsewhere")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise Hostile(f"{info.filename!r} is a link or a device")
    if info.flag_bits & ENCRYPTED or info.compress_type not in METHODS:
        raise Hostile(f"{info.filename!r} is packed in a way that is not read here")


def _is_plain_name(name: str) -> bool:
    parts = name.removesuffix("/").split("/")
    is_clean = not any(part in {"", ".", ".."} for part in parts)
    return is_clean and not PurePosixPath(name).is_absolute() and not set(name) & set("\\:\0")
