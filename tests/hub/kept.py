"""What a hub keeps, read so that nothing hides in how it is kept: compressed, packed or split."""

import base64
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

READERS: dict[bytes | str, Callable[["redis.Redis", bytes], Any]] = {
    b"string": lambda client, key: client.get(key),
    b"hash": lambda client, key: client.hgetall(key),
    b"set": lambda client, key: client.smembers(key),
    b"zset": lambda client, key: client.zrange(key, 0, -1, withscores=True),
    b"list": lambda client, key: client.lrange(key, 0, -1),
    b"stream": lambda client, key: client.xrange(key),
}


def of_redis(client: "redis.Redis") -> dict[str, bytes]:
    """Read every key by its type; a type that is not known here fails."""
    kept = {}
    for key in client.scan_iter():
        kind = client.type(key)
        if kind != b"none":  # it ran out since
            kept[repr(key)] = key + b"\n" + flat(READERS[kind](client, key))
    return kept


def flat(value: Any) -> bytes:
    """Give all the bytes that a value holds."""
    if isinstance(value, dict):
        return flat([*value.items()])
    if isinstance(value, list | tuple | set | frozenset):
        return b"\n".join(map(flat, value))
    return value if isinstance(value, bytes) else str(value).encode()


def of_tables(file: Path) -> dict[str, bytes]:
    """Read every row, each value whole: in the file a long one lies in pieces."""
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        named = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        kept = {
            name: flat(database.execute(f'SELECT * FROM "{name}"').fetchall()) for (name,) in named
        }
        sessions = database.execute("SELECT session_data FROM django_session").fetchall()
    return kept | {"sessions, unpacked": flat([unpacked(data) for (data,) in sessions])}


def unpacked(session: str) -> bytes:
    """Give a session's JSON. Source: django.core.signing, `dumps`."""
    text = session.partition(":")[0]
    data = base64.urlsafe_b64decode(text.removeprefix(".") + "===")
    return zlib.decompress(data) if text.startswith(".") else data
