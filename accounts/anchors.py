"""How long the audit log is, kept in a file beside the database: a cut tail shows against it.

`DATA/audit_anchor.json`, moved forward after each commit; never back, whichever process is late.
"""

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings

from accounts.chain import Anchor

FILE_MODE = 0o600
log = logging.getLogger(__name__)


def place() -> Path:
    return Path(settings.HUB_DATA) / "audit_anchor.json"


def read() -> Anchor | None:
    """Give what is noted; None where nothing was. Raises: ValueError where it was damaged."""
    try:
        noted = json.loads(place().read_text(encoding="ascii"))
    except FileNotFoundError:
        return None
    try:
        return Anchor(int(noted["rows"]), str(noted["hash"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{place()} is damaged: {error}") from error


def move(anchor: Anchor, holds: Callable[[Anchor], bool]) -> None:
    """Note a longer chain, if it still `holds` what is noted: a chain that was written anew must
    not cover its own tracks. Raises: OSError, ValueError.
    """
    with _alone():
        known = read()
        if known is not None and known.seq >= anchor.seq:
            return
        if known is None or holds(known):
            _write(anchor)
        else:
            log.critical(
                "the audit log was changed: a row differs from its anchor",
                extra={"row": known.seq, "file": str(place())},
            )


def reset(anchor: Anchor) -> None:
    """Note another chain, after a restore. Raises: OSError."""
    with _alone():
        _write(anchor)


def _write(anchor: Anchor) -> None:
    draft = place().with_suffix(".new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, FILE_MODE)
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        json.dump({"rows": anchor.seq, "hash": anchor.hash}, stream)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(place())


@contextmanager
def _alone() -> Iterator[None]:
    handle = os.open(place().with_suffix(".lock"), os.O_WRONLY | os.O_CREAT, FILE_MODE)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
