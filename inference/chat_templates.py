"""Where a model's files keep its chat templates. Called by `inspection`; none is run here."""

from pathlib import Path
from typing import Any

from inference.node import headers
from inference.plain_files import open_plain

CONFIGS = ("tokenizer_config.json", "processor_config.json", "chat_template.json")
MAX_TEMPLATES = 16
MAX_BYTES = 2**20  # of one template's file


def of(place: Path) -> list[str]:
    """Give the source of every template of a folder or a GGUF file. Raises: OSError."""
    if place.is_file():
        found = _of_gguf(place)
    else:
        found = [text for name in CONFIGS for text in _of_config(place / name)]
        found += [_text(file) for file in sorted(place.glob("*.jinja"))]
    return [*dict.fromkeys(text for text in found if text)][:MAX_TEMPLATES]


def _of_gguf(file: Path) -> list[str]:
    values = headers.gguf_numbers(file)
    return [str(v) for name, v in values.items() if name.startswith("tokenizer.chat_template")]


def _of_config(file: Path) -> list[str]:
    """One template, or several by name: as a list of pairs, or an object."""
    template = headers.config_of(file).get("chat_template")
    if isinstance(template, dict):
        return [text for text in template.values() if isinstance(text, str)]
    if isinstance(template, list):
        return [text for entry in template if (text := _named(entry))]
    return [template] if isinstance(template, str) else []


def _named(entry: Any) -> str:
    text = entry.get("template") if isinstance(entry, dict) else None
    return text if isinstance(text, str) else ""


def _text(file: Path) -> str:
    with open_plain(file) as stream:
        text = stream.read(MAX_BYTES).decode("utf-8", "replace")
    return "" if "\0" in text else text  # a file of which only the size is known reads as zeros
