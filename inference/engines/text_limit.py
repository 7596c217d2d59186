"""Refuse text that cannot fit a model before all of it is tokenised: 14 MB take ten seconds.

Used by every engine that reads text. A tokenizer may drop or join what it likes, so that bytes alone
prove nothing; but ordinary text shows after a piece that it is too long, and what has more bytes for
each token than text ever has is refused unread.
"""

from collections.abc import Callable, Iterable

from inference.errors import ContextLengthExceeded

MAX_TOKEN_BYTES = 64  # on average; English has 4 to 5, code with much indentation 10
FREE_BYTES = 4 * 1024  # shorter text is simply tokenised
USUAL_TOKEN_BYTES = 6
PIECE_CHARS = 16 * 1024
CUT_TOKENS = 16  # that cutting a piece off may add

Count = Callable[[str], int]


def refuse_hopeless(
    texts: Iterable[str], count: Count, context: int, param: str, name: str | None = None
) -> None:
    """Check texts that go into one context together. `name` is what errors call them.

    Raises: ContextLengthExceeded.
    """
    parts = [text for text in texts if text]
    size = sum(map(len, parts))  # characters: no more than bytes
    if size <= max(FREE_BYTES, context * USUAL_TOKEN_BYTES):
        return
    if size > max(FREE_BYTES, context * MAX_TOKEN_BYTES):
        raise _too_long(f"{size} characters", context, param, name)
    seen = 0
    for piece in _pieces(parts):
        seen += max(0, count(piece) - CUT_TOKENS)
        if seen > context:
            raise _too_long(f"more than {seen} tokens", context, param, name)


def _pieces(parts: Iterable[str]) -> Iterable[str]:
    for text in parts:
        for at in range(0, len(text), PIECE_CHARS):
            yield text[at : at + PIECE_CHARS]


def _too_long(found: str, context: int, param: str, name: str | None) -> ContextLengthExceeded:
    return ContextLengthExceeded(
        f"This model's maximum context length is {context} tokens. However, your {name or param} "
        f"resulted in {found}. Please reduce the length of the {name or param}.",
        param=param,
    )
