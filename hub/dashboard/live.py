"""The dashboard's websocket: pushes panels when they change, and asks each time who may still look.

All sockets of a process read the same watcher, and a panel is rendered once per tick, language and
set of rights, however many people watch.
"""

import asyncio
import hashlib
from urllib.parse import parse_qs
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import close_old_connections
from django.utils import translation

from accounts.authentication import Refused, authenticate
from accounts.principals import Principal
from hub import sockets
from hub.dashboard import panels, watcher
from hub.dashboard.board import Board
from hub.dashboard.panels import Panel
from hub.dashboard.watcher import Tick, Watcher
from hub.middleware import Receive, Scope, Send
from hub.sockets import REFUSED, TOO_MANY, Places

MAX_PANELS = 16
ASK_S = 1.0  # a right that ends does so within 2 s; half a second of them is the epoch's
_places = Places()

Key = tuple[str, str, frozenset[str], object]


class Renderer:
    """Fragments of the newest tick, shared by every socket of the process."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._number = -1
        self._boards: dict[object, Board] = {}  # by what may be seen
        self._fragments: dict[Key, str] = {}

    async def fragments(
        self, tick: Tick, wanted: list[Panel], who: Principal, language: str
    ) -> list[str]:
        async with self._lock:
            return await sync_to_async(self._render, thread_sensitive=False)(
                tick, wanted, who, language
            )

    def _render(self, tick: Tick, wanted: list[Panel], who: Principal, language: str) -> list[str]:
        board = self._board_of(tick, who)
        return [self._fragment(panel, board, who, language) for panel in wanted]

    def _board_of(self, tick: Tick, who: Principal) -> Board:
        if self._number < tick.number:
            self._boards, self._number, self._fragments = {}, tick.number, {}
        if who.view not in self._boards:
            close_old_connections()
            self._boards[who.view] = Board(tick, who)
            close_old_connections()
        return self._boards[who.view]

    def _fragment(self, panel: Panel, board: Board, who: Principal, language: str) -> str:
        key = (panel.name, language, who.scopes, who.view)
        if key not in self._fragments:
            self._fragments[key] = panels.render_push(panel, board, who, language)
        return self._fragments[key]


_renderers: WeakKeyDictionary[Watcher, Renderer] = WeakKeyDictionary()


class LiveConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]
    """`/ws/live/?panels=summary,models&language=vi`."""

    needs = "status:read"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """However it ends, also by a browser that leaves while it is let in: the place is free."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._leave()

    async def connect(self) -> None:
        try:
            self.who = await self._ask()
        except Refused as error:
            self._note(error)
            await self.close(code=REFUSED)
            return
        self.place = f"user:{self.who.user_id}"  # more keys open no more of them
        if not _places.take(self.place):
            self.place = ""
            sockets.refused(self.scope, "too_many", self.who)
            await self.accept()  # only then a code and a reason reach the browser
            await self.close(code=TOO_MANY, reason="too many live views are open; this one polls")
            return
        query = parse_qs(self.scope["query_string"].decode("latin-1"))
        self.names = query.get("panels", [""])[0].split(",")[:MAX_PANELS]
        self.language = _language(query.get("language", [""])[0])
        await self.accept()
        self.pushing = asyncio.create_task(self._push())

    def _note(self, error: Refused) -> None:
        """A page that is open when its session ends asks again: that is no refusal of somebody."""
        if error.kind != "missing":
            sockets.refused(self.scope, error.kind)

    def _leave(self) -> None:
        if place := getattr(self, "place", ""):
            _places.give_back(place)
        if pushing := getattr(self, "pushing", None):
            pushing.cancel()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Nothing that a browser sends changes what is pushed."""

    async def _ask(self) -> Principal:
        """Raises: Refused once the person is signed out, disabled or demoted out of sight."""
        client = self.scope.get("client") or [None]
        who = await authenticate(self.scope["headers"], client[0], method="GET")
        if not who.allows(self.needs):
            raise Refused("scope", f"This needs the scope {self.needs}.")
        return who

    async def _push(self) -> None:
        """A node that says nothing keeps nobody's view open: who may look is asked all the same."""
        sent: dict[str, bytes] = {}
        number = 0
        try:
            while True:
                tick = await watcher.shared().within(number, ASK_S)
                who = await self._ask()
                if tick.number > number:
                    number = tick.number
                    await self._push_changes(tick, who, sent)
        except Refused:
            await self.close(code=REFUSED)

    async def _push_changes(self, tick: Tick, who: Principal, sent: dict[str, bytes]) -> None:
        wanted = panels.allowed(self.names, who)
        renderer = _renderers.setdefault(watcher.shared(), Renderer())
        found = await renderer.fragments(tick, wanted, who, self.language)
        news = [
            text for panel, text in zip(wanted, found, strict=True) if _is_new(panel, text, sent)
        ]
        if news:
            await self.send(text_data="".join(news))


def _is_new(panel: Panel, text: str, sent: dict[str, bytes]) -> bool:
    digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
    changed = sent.get(panel.name) != digest
    sent[panel.name] = digest
    return changed


def _language(code: str) -> str:
    return code if translation.check_for_language(code) else translation.get_language() or "en"
