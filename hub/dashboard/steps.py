"""The steps of the set-up, each done or not by what is so: nothing remembers a click."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from accounts.models import ApiKey, User
from hub.dashboard.board import Board

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

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
    """A key that was used proves a loaded model and a first request after a restart, too."""
    keys = ApiKey.objects.filter(owner=user)
    used = keys.filter(last_used_at__isnull=False).exists()
    loaded = used or any(model.loads_total for model in board.models)
    talked = used or any(
        model.completion_tokens_total for model in board.models if _talks(model.kind)
    )
    return _steps((True, loaded, talked, keys.exists()))


def _talks(kind: str) -> bool:
    return kind in TALKS


def _steps(done: tuple[bool, ...]) -> list[Step]:
    titles = (_("Admin account"), _("A model in memory"), _("First chat"), _("First key"))
    following = done.index(False) if False in done else len(done)
    numbered = enumerate(zip(titles, done, strict=True))
    return [Step(n + 1, title, is_done, is_next=n == following) for n, (title, is_done) in numbered]
