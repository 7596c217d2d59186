"""The steps of the set-up, each done or not by what is so; what was seen done once stays done."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from accounts import setup
from accounts.models import ApiKey, User
from hub.dashboard.board import Board

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

LOADED, TALKED = "loaded", "talked"
TALKS = frozenset({"llm", "vlm"})


@dataclass(frozen=True, slots=True)
class Step:
    number: int
    title: "_StrPromise"
    is_done: bool
    is_next: bool


def first() -> list[Step]:
    """Give the steps of a hub that nobody has entered."""
    return _steps((False, False, False, False))


def of(user: User, board: Board) -> list[Step]:
    """What the node counts ends with it, so it is noted; a key that was used proves both, too."""
    keys, noted = ApiKey.objects.filter(owner=user), setup.done_steps()
    seen = {LOADED, TALKED} if keys.filter(last_used_at__isnull=False).exists() else _seen(board)
    if news := seen - noted:
        setup.note_steps(frozenset(news))
    done = noted | seen
    return _steps((True, LOADED in done, TALKED in done, keys.exists()))


def _seen(board: Board) -> set[str]:
    talked = any(model.completion_tokens_total for model in board.models if _talks(model.kind))
    loaded = any(model.loads_total for model in board.models)
    return {name for name, is_so in ((LOADED, loaded), (TALKED, talked)) if is_so}


def _talks(kind: str) -> bool:
    return kind in TALKS


def _steps(done: tuple[bool, ...]) -> list[Step]:
    titles = (_("Admin account"), _("A model in memory"), _("First chat"), _("First key"))
    following = done.index(False) if False in done else len(done)
    numbered = enumerate(zip(titles, done, strict=True))
    return [Step(n + 1, title, is_done, is_next=n == following) for n, (title, is_done) in numbered]
