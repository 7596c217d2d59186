"""The JSON files of a model's folder, read as what nobody knows yet. Called by `reading`."""

from pathlib import Path
from typing import Any

from inference.errors import UnsafeModel
from inference.node import headers
from inference.plain_files import open_plain

# What libraries read beside config.json, where it is there.
BESIDE = ("generation_config.json", "tokenizer_config.json", "special_tokens_map.json")


def read(file: Path) -> dict[str, Any]:
    """Raises: UnsafeModel saying what is wrong with it."""
    try:
        with open_plain(file) as stream:
            data = stream.read(headers.MAX_CONFIG_BYTES + 1)
    except OSError:
        is_empty = not any(file.parent.iterdir())
        raise UnsafeModel("nothing is in it" if is_empty else f"{file.name} is missing") from None
    if len(data) > headers.MAX_CONFIG_BYTES:
        raise UnsafeModel(f"{file.name} is too large")
    try:
        found = headers.bounded_json(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UnsafeModel(f"{file.name} is no JSON object")
    return found
