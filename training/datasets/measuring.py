"""Counts a row's tokens as training will see them, and finds rows that a base model cannot learn."""

import itertools
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.datasets.findings import Defect
from training.datasets.report import Lengths, Pieces, lengths
from training.run.rendering import IGNORED, BadRow, Example, Renderer, cut

SHOWN_TOKENS = 1_000  # of an example that a person looks at
_KNOWN = {"template_refuses", "mask_unknown"}


class Measurer:
    """Made once for a file; call it with each row, then ask for `lengths`."""

    def __init__(self, base: Path, max_length: int) -> None:
        """Raises: LoadFailed."""
        self._renderer = Renderer.load(base)
        self._max_length = max_length
        self._tokens, self._supervised = array("I"), 0

    def __call__(self, row: dict[str, Any]) -> Iterator[Defect]:
        try:
            examples = self.examples(row)
        except BadRow as error:
            code = error.code if error.code in _KNOWN else "template_refuses"
            yield Defect(code, str(error))
            return
        parts = [cut(example, self._max_length) for example in examples]
        self._tokens.append(max(len(example.ids) for example in examples))
        self._supervised += sum(part.supervised for part in parts)
        over = max(part.cut for part in parts)
        if not all(part.supervised for part in parts):
            yield Defect("nothing_left" if over else "nothing_learned", _words(over))
        elif over:
            yield Defect("too_long", f"{over} tokens lie behind max_length {self._max_length}.")

    def examples(self, row: dict[str, Any]) -> list[Example]:
        """Render a row as training does. Raises: BadRow."""
        if "chosen" in row:
            pair = self._renderer.pair(row)
            return [pair.chosen, pair.rejected]
        if "messages" in row:
            return [self._renderer.chat(row["messages"], row.get("tools"))]
        if "completion" in row:
            return [self._renderer.completion(row["prompt"], row["completion"])]
        return [self._renderer.text(row["text"])]

    def coloured(self, row: dict[str, Any]) -> list[Pieces]:
        """Give each example's text in pieces, as far as it is read and shown. Raises: BadRow."""
        return [self._pieces(cut(example, self._max_length)) for example in self.examples(row)]

    def _pieces(self, example: Example) -> Pieces:
        pieces: Pieces = []
        learned = [label != IGNORED for label in example.labels[:SHOWN_TOKENS]]
        at = 0
        for is_learned, run in itertools.groupby(learned):
            end = at + sum(1 for _ in run)
            text = str(self._renderer.vocabulary.hf.decode(example.ids[at:end]))
            pieces.append((text, is_learned))
            at = end
        return pieces

    def lengths(self) -> Lengths | None:
        return lengths(self._tokens, self._supervised, self._max_length)


def _words(over: int) -> str:
    return (
        f"The answer lies behind max_length; {over} tokens are too many."
        if over
        else "Nothing of this row would be learned."
    )
