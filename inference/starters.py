"""The starter models: which there are, from which package, with which digests (starters.json).

The catalog registers them, `manage.py fetch_models` fetches them.
"""

from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from inference import wire

Size = Literal["small", "medium", "large"]
# No larger models are to be had from package wheels: `large` is `medium` until there are.
SIZES: tuple[Size, ...] = ("small", "medium", "large")
TABLE = Path(__file__).with_name("starters.json")


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file inside a wheel; parts with the same target are joined in order."""

    package: str  # name==version
    member: str
    target: str


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file as it must be on disk."""

    name: str
    size_bytes: int
    sha256: str


class Starter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model that comes with the hub, or a vocabulary that the API needs."""

    name: str
    kind: wire.Kind | Literal["vocabulary"]
    engine: str
    size: Size
    licence: str
    parameters: int
    quantization: str
    context_tokens: int
    parts: tuple[Part, ...] = ()
    files: tuple[File, ...] = ()
    main_file: str = ""  # the spec's path inside the folder; empty: the folder itself
    converted_from: str = ""  # another starter, whose GGUF is converted to safetensors
    aliases: tuple[str, ...] = ()  # a larger starter takes a smaller one's alias over

    @property
    def is_model(self) -> bool:
        return self.kind != "vocabulary"

    def folder(self, root: Path) -> Path:
        return root / self.name

    def path(self, root: Path) -> Path:
        return self.folder(root) / self.main_file

    @property
    def packages(self) -> list[str]:
        return list(dict.fromkeys(part.package for part in self.parts))

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)

    def is_present(self, root: Path) -> bool:
        """Compare names and sizes only; digests were checked when the files were written."""
        folder = self.folder(root)
        if self.converted_from:
            return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
        return all(_has_size(folder / file.name, file.size_bytes) for file in self.files)

    def is_missing(self, root: Path) -> bool:
        """Tell whether it is to be fetched; what comes by conversion is made later."""
        return bool(self.parts) and not self.is_present(root)


def _has_size(file: Path, size_bytes: int) -> bool:
    return file.is_file() and file.stat().st_size == size_bytes


@cache
def table() -> tuple[Starter, ...]:
    return msgspec.json.decode(TABLE.read_bytes(), type=tuple[Starter, ...])


def chosen(size: str) -> list[Starter]:
    """List the starters of this size and of every smaller one."""
    limit = SIZES.index(size)
    return [starter for starter in table() if SIZES.index(starter.size) <= limit]


def by_name(name: str) -> Starter | None:
    return next((starter for starter in table() if starter.name == name), None)


def aliases(size: str) -> dict[str, str]:
    """Map each alias to its starter; the last (largest) one wins."""
    return {alias: starter.name for starter in chosen(size) for alias in starter.aliases}
