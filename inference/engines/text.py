"""From generated tokens to the text that a client sees: whole characters, no stop string, ever.

Used by engines that pick the tokens themselves; one `TextStream` per choice.
"""

import codecs
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from inference import wire


class Utf8:
    """Incremental UTF-8: holds back an unfinished character, replaces what can never be one."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, raw: bytes) -> str:
        return self._decoder.decode(raw)

    @property
    def pending(self) -> bool:
        """True while bytes of an unfinished character are held."""
        return bool(self._decoder.getstate()[0])

    def drop(self) -> None:
        """Forget the bytes of a character that will never be whole."""
        self._decoder.reset()


class StopFilter:
    """Let text through up to the first stop string, however the text is cut into pieces.

    The first is the one that is complete first; of several that end together, the longest.
    Invariant: what was let through never ends in a prefix of a stop string.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """Give what is safe to show now."""
        if self.stopped:
            return ""
        if not self._stops:
            return text
        self._held += text
        cut = self._first_stop()
        if cut is not None:
            shown, self._held, self.stopped = self._held[:cut], "", True
            return shown
        keep = self._unsafe_suffix()
        shown = self._held[: len(self._held) - keep]
        self._held = self._held[len(shown) :]
        return shown

    def finish(self) -> str:
        """Give what was held back: no stop string can come any more."""
        rest, self._held = self._held, ""
        return rest

    def _first_stop(self) -> int | None:
        found = [(at + len(stop), at) for stop in self._stops if (at := self._held.find(stop)) >= 0]
        return min(found)[1] if found else None

    def _unsafe_suffix(self) -> int:
        return max(_overlap(self._held, stop) for stop in self._stops)


def _overlap(text: str, stop: str) -> int:
    """Length of the longest suffix of `text` that is a proper prefix of `stop`."""
    for size in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0


@dataclass(slots=True)
class Piece:
    """A part of an answer: its text and the tokens that it accounts for."""

    text: str = ""
    tokens: int = 0
    logprobs: list[wire.TokenLogprob] = field(default_factory=list)


@dataclass(slots=True)
class _Held:
    start: int  # where this token's text begins, in characters of the answer
    end: int  # where the last character that it has a part of ends
    logprob: wire.TokenLogprob | None


class TextStream:
    """One choice's tokens become deltas; each token's logprob travels with the token's text."""

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._utf8 = Utf8()
        self._filter = StopFilter(stops)
        self._held: deque[_Held] = deque()
        self._decoded = 0  # characters
        self._shown = 0

    @property
    def stopped(self) -> bool:
        """True once a stop string was complete: nothing more will be shown."""
        return self._filter.stopped

    def push(self, raw: bytes, logprob: wire.TokenLogprob | None = None) -> Piece | None:
        """Take one token's bytes; give what can be shown now, or None."""
        start = self._decoded
        text = self._utf8.push(raw)
        self._decoded += len(text)
        self._held.append(_Held(start, self._decoded + self._utf8.pending, logprob))
        shown = self._filter.push(text)
        self._shown += len(shown)
        if self.stopped:
            return self._last(shown)
        return self._release(shown) if shown else None

    def finish(self) -> Piece:
        """Give the rest: held-back text. An unfinished character is left out, as OpenAI does; its
        bytes stand in the tokens' logprobs.
        """
        self._utf8.drop()
        text = "" if self.stopped else self._filter.finish()
        self._shown += len(text)
        return self._last(text)

    def _release(self, text: str) -> Piece:
        piece = Piece(text)
        while self._held and self._held[0].end <= self._shown:
            _account(piece, self._held.popleft())
        return piece

    def _last(self, text: str) -> Piece:
        """Account for every token left, with logprobs only for those whose text was shown."""
        piece = Piece(text)
        while self._held:
            token = self._held.popleft()
            if self.stopped and token.start >= self._shown:
                token.logprob = None
            _account(piece, token)
        return piece


def _account(piece: Piece, token: _Held) -> None:
    piece.tokens += 1
    if token.logprob is not None:
        piece.logprobs.append(token.logprob)
