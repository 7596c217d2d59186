"""A folder as one download: a tar whose length is known before its first byte."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

BLOCK_BYTES = 256 * 1024


class Archive:
    """The files of a folder, in order; they do not change any more."""

    def __init__(self, folder: Path, name: str) -> None:
        found = sorted(file for file in folder.rglob("*") if file.is_file())
        self._entries = [
            (file, _head(file, f"{name}/{file.relative_to(folder)}")) for file in found
        ]

    @property
    def size_bytes(self) -> int:
        inside = sum(len(head) + _padded(file.stat().st_size) for file, head in self._entries)
        return inside + 2 * tarfile.BLOCKSIZE

    def blocks(self) -> Iterator[bytes]:
        """Raises: OSError."""
        for file, head in self._entries:
            yield head
            size_bytes = file.stat().st_size
            yield from pieces(file)
            yield b"\0" * (_padded(size_bytes) - size_bytes)
        yield b"\0" * 2 * tarfile.BLOCKSIZE


def pieces(file: Path) -> Iterator[bytes]:
    """Raises: OSError."""
    with file.open("rb") as stream:
        while block := stream.read(BLOCK_BYTES):
            yield block


def _head(file: Path, name: str) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = file.stat().st_size, 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


def _padded(size_bytes: int) -> int:
    return -(-size_bytes // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
