"""What was measured of models and of engines, kept in a file of the node's state folder.

Written by the fleet, read by `memory`. Sizes leave out keys and values: those are planned anew each time.
"""

import json
import logging
from pathlib import Path

from inference import wire

NOTICEABLE = 0.01  # a smaller change is not worth a write

log = logging.getLogger(__name__)


class Peaks:
    """Measured needs by (model and version, engine, dtype, context, device); survives restarts.

    The version stands for the options: they may hold a key of another server, and this is a file.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known = _load(file)
        self._is_unwritten = False  # said once, until it can be written again

    def get(self, spec: wire.ModelSpec, device: str) -> int:
        return self._known.get(_key(spec, device), 0)

    def remember(self, spec: wire.ModelSpec, device: str, size: int, left: int = 0) -> None:
        """Keep what was measured best, written at once when it differs noticeably.

        `left` of `size` is guessed, because it was not asked for: of the rest, the largest counts.
        """
        key, guess = _key(spec, device), _guess_key(spec, device)
        known = self._known.get(key, 0)
        guessed = self._known.get(guess, known)  # an older file does not say
        if not known or left < guessed * (1 - NOTICEABLE):
            self._write({key: size, guess: left})
        elif size - left > known * (1 + NOTICEABLE):
            self._write({key: size - left})
        elif left <= guessed and size > known * (1 + NOTICEABLE):
            self._write({key: size})

    def base(self, variant: str, device: str) -> int:
        """Give what a process of this variant of an engine took before its model; 0: not known yet."""
        return self._known.get(_base_key(variant, device), 0)

    def learn_base(self, variant: str, device: str, size: int) -> None:
        """Keep the newest: libraries change under an installation."""
        key = _base_key(variant, device)
        if abs(size - self._known.get(key, 0)) > size * NOTICEABLE:
            self._write({key: size})

    def _write(self, sizes: dict[str, int]) -> None:
        """A disk that is full costs the memory of it after a restart; the next write has it all."""
        self._known |= sizes
        draft = self._file.with_suffix(".new")
        try:
            draft.write_text(json.dumps(self._known, indent=1, sort_keys=True))
            draft.replace(self._file)
        except OSError as error:
            if not self._is_unwritten:
                log.warning("what models need cannot be written: %s", error)
            self._is_unwritten = True
        else:
            self._is_unwritten = False


def _key(spec: wire.ModelSpec, device: str, what: str = "fixed") -> str:
    context = f"{spec.context_tokens}x{spec.max_concurrency}"
    return "|".join((what, spec.key, spec.engine, spec.dtype, context, device))


def _guess_key(spec: wire.ModelSpec, device: str) -> str:
    return _key(spec, device, "guessed")


def _base_key(variant: str, device: str) -> str:
    return "|".join(("base", variant, device))


def _load(file: Path) -> dict[str, int]:
    try:
        loaded = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(loaded, dict):
        return {}
    return {str(key): size for key, size in loaded.items() if isinstance(size, int)}
