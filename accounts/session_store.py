"""Sessions of browsers in the database, under digests of their keys: a copy of it signs nobody in.

Named by `SESSION_ENGINE`. Whoever compares rows with the session of now asks `digest`.
"""

import hashlib
from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.sessions.backends import db
from django.contrib.sessions.base_session import AbstractBaseSession
from django.contrib.sessions.models import Session
from django.utils import timezone

DIGEST_CHARS = 40  # of the column; 160 of the key's 165 random bits


def digest(session_key: str | None) -> str:
    """Give what is kept of the key that a cookie holds; the key is random, so no salt is needed."""
    return hashlib.sha256((session_key or "").encode()).hexdigest()[:DIGEST_CHARS]


class SessionStore(db.SessionStore):
    """Django's own, which never writes a key."""

    def _get_session_from_db(self) -> Session | None:
        live = Session.objects.filter(expire_date__gt=timezone.now())
        found = live.filter(session_key=digest(self.session_key)).first()
        if found is None:
            self._session_key = None
        return found

    def exists(self, session_key: str) -> bool:
        return super().exists(digest(session_key))

    def create_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        made = super().create_model_instance(data)
        made.session_key = digest(made.session_key)
        return made

    def delete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            super().delete(digest(key))

    # --- the same for asynchronous code ---------------------------------------------------------

    async def _aget_session_from_db(self) -> Session | None:
        return await sync_to_async(self._get_session_from_db)()

    async def aexists(self, session_key: str) -> bool:
        return await super().aexists(digest(session_key))

    async def acreate_model_instance(self, data: dict[str, Any]) -> AbstractBaseSession:
        made = await super().acreate_model_instance(data)
        made.session_key = digest(made.session_key)
        return made

    async def adelete(self, session_key: str | None = None) -> None:
        key = session_key or self.session_key
        if key is not None:
            await super().adelete(digest(key))
