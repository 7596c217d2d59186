"""Where the bytes of files lie: in the data folder, each under its own id, whole or not at all."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from django.conf import settings

from inference import places

BLOCK_BYTES = 256 * 1024
FORGOTTEN_S = 2 * 3_600.0  # without a byte: no upload takes so long


def root() -> Path:
    return Path(settings.HUB_DATA) / "files"


def path(file_id: str) -> Path:
    """An id is the hub's own, made of letters that no path minds."""
    return root() / file_id[-2:] / file_id


class Incoming:
    """A file on its way: `write` its pieces, then `keep` it; leaving the block without forgets it."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._sha256 = hashlib.sha256()
        self._scratch = root() / "incoming" / secrets.token_hex(16)
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "Incoming":
        """Raises: OSError."""
        self._scratch.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._scratch.open("xb")
        return self

    def write(self, data: bytes) -> None:
        """Raises: OSError."""
        if self._file is None:
            raise ValueError("write outside of the block")
        self._file.write(data)
        self._sha256.update(data)
        self.size_bytes += len(data)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def keep(self, file_id: str) -> Path:
        """Give it its name once all of it is on the disk. Raises: OSError."""
        if self._file is None:
            raise ValueError("keep outside of the block")
        self._file.flush()
        os.fsync(self._file.fileno())
        target = path(file_id)
        target.parent.mkdir(parents=True, exist_ok=True)
        self._scratch.replace(target)
        _sync_folder(target.parent)
        return target

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        self._scratch.unlink(missing_ok=True)


def remove(file_id: str) -> None:
    path(file_id).unlink(missing_ok=True)


def blocks(file_id: str) -> Iterator[bytes]:
    """Raises: OSError."""
    with path(file_id).open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            yield block


def check_disk(needed_bytes: int) -> None:
    """Raises: DiskFull."""
    places.check_disk(needed_bytes, root(), "the data folder", "free some")


def sweep(now_s: float) -> None:
    """Remove what was on its way when a process died."""
    for left in (root() / "incoming").glob("*"):
        with contextlib.suppress(FileNotFoundError):
            if left.stat().st_mtime < now_s - FORGOTTEN_S:
                left.unlink()


def _sync_folder(folder: Path) -> None:
    """A new name is on the disk once its folder is."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
