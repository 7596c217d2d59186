"""Which files of a folder make its tokenizer: without them a library makes one that knows no words.

Called by `reading`, which only looks whether they are there, and by `inspection`.
"""

from pathlib import Path

from inference.errors import UnsafeModel
from inference.plain_files import open_plain

WHOLE = "tokenizer.json"
SETS = ((WHOLE,), ("vocab.json", "merges.txt"), ("vocab.txt",))
PACKED = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tekken.json")


def check_there(folder: Path) -> None:
    """Raises: UnsafeModel."""
    if any(all((folder / name).is_file() for name in names) for names in SETS):
        return
    packed = next((name for name in PACKED if (folder / name).is_file()), "")
    instead = (
        f"; {packed} alone is not read: save it as {WHOLE} with transformers" if packed else ""
    )
    raise UnsafeModel(f"{WHOLE} is missing: nothing turns text into the model's tokens{instead}")


def readable(folder: Path) -> Path | None:
    """Give the tokenizer's file; None where it is not here, or only its size is known. Raises: OSError."""
    file = folder / WHOLE
    if not file.is_file():
        return None
    with open_plain(file) as stream:
        return None if stream.read(1) == b"\0" else file
