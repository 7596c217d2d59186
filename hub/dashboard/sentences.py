"""English sentences of the hub's other parts, matched by patterns and said in the visitor's language."""

import re
from collections.abc import Callable, Mapping


def said(
    text: str,
    table: Mapping[str, object],
    named: Mapping[str, object] | None = None,
    reading: Mapping[str, Callable[[str], str]] | None = None,
) -> str | None:
    """Translate what one of the patterns matches whole; None where none does.

    A part that `named` knows has words of its own; `reading` translates parts by their names.
    """
    for pattern, sentence in table.items():
        if found := re.fullmatch(pattern, text, re.DOTALL):
            parts = {
                name: str((named or {}).get(part, part)) for name, part in found.groupdict().items()
            }
            parts |= {
                name: read(parts[name]) for name, read in (reading or {}).items() if name in parts
            }
            return str(sentence) % parts
    return None
