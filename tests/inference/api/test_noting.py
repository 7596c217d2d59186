"""Which key a request is noted for: the one that its credential is, or came from."""

from typing import Any

import pytest

from accounts import ledger
from accounts.entry import Entry
from accounts.principals import Principal
from inference.api import noting
from inference.api.http import Reply, Request

SCOPE = {"method": "POST", "path": "/v1/embeddings", "headers": []}


async def nowhere(_message: Any = None) -> Any:
    raise AssertionError("nothing is read or sent here")


@pytest.mark.parametrize(
    ("key_id", "counted_key", "noted"),
    [
        ("k1", "k1", "k1"),
        ("jwt_g1", "k1", "k1"),
        ("jwt_g1", None, "jwt_g1"),
        (None, None, ""),
    ],
)
def test_a_token_is_use_of_the_key_that_it_came_from(
    monkeypatch: pytest.MonkeyPatch, key_id: str | None, counted_key: str | None, noted: str
) -> None:
    entries: list[Entry] = []
    monkeypatch.setattr(ledger, "note", entries.append)
    who = Principal(1, "dev", "developer", frozenset(), key_id=key_id, counted_key=counted_key)
    request = Request(SCOPE, nowhere)
    noting.note(request, Reply(request, nowhere), who, None, "")
    assert [entry.key_id for entry in entries] == [noted]
