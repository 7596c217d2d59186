"""Which GGUF file lets a language model see: known by its name, as everybody names it. Pure.

Called by `reading` and `hub_protocol`.
"""

from collections.abc import Iterable
from pathlib import PurePosixPath

MARK = "mmproj"
PREFERRED = ("-f16", "_f16", ".f16", "bf16", "q8_0")


def is_one(name: str) -> bool:
    return MARK in PurePosixPath(name).name.lower() and name.lower().endswith(".gguf")


def beside(model: str, names: Iterable[str]) -> str | None:
    """Choose the projector in the folder of a model's file: 16 bits are enough, and usual."""
    folder = PurePosixPath(model).parent
    found = [name for name in names if is_one(name) and PurePosixPath(name).parent == folder]
    return min(found, key=lambda name: (_rank(name.lower()), name), default=None)


def _rank(name: str) -> int:
    found = (at for at, kind in enumerate(PREFERRED) if kind in name)
    return next(found, len(PREFERRED))
