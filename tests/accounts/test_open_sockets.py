"""Live views are counted for who looks, whatever credential opened them."""

import pytest
from asgiref.sync import sync_to_async
from channels.testing import WebsocketCommunicator

from accounts import keys
from accounts.models import User
from hub.asgi import application
from hub.dashboard import live
from hub.sockets import TOO_MANY, Places
from tests.accounts.conftest import MakeUser, session_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("idle_node")]


def key_of(user: User) -> str:
    return keys.issue(user, "k", ["status:read"], by=session_of(user))[1]


async def test_more_keys_open_no_more_live_views(
    person: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_places", Places(most_of_one=1))
    user = await sync_to_async(person)("ann")
    page = [(b"host", b"testserver"), (b"origin", b"http://testserver")]
    sockets = []
    for _ in range(2):
        key = await sync_to_async(key_of)(user)
        headers = [*page, (b"x-api-key", key.encode())]
        sockets.append(WebsocketCommunicator(application, "/ws/live/", headers))
        assert (await sockets[-1].connect())[0]
    try:
        told = await sockets[1].receive_output(timeout=30)
    finally:
        for socket in sockets:
            await socket.disconnect()
    assert (told["type"], told["code"]) == ("websocket.close", TOO_MANY)
