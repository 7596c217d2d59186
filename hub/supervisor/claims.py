"""What only one hub may hold: its data folder and its port."""

import fcntl
import os
import socket
from pathlib import Path

BACKLOG = 2048


class Taken(Exception):
    """Somebody else holds it; the message is for the operator, one line."""


def claim_folder(folder: Path) -> int:
    """Lock the data folder for as long as this process lives; give the lock's descriptor.

    Raises: Taken.
    """
    file = folder / "hub.lock"
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = file.read_text(encoding="ascii").strip() or "?"
        os.close(handle)
        raise Taken(f"another hub (process {holder}) runs on the data folder {folder}") from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle


def listen(host: str, port: int) -> socket.socket:
    """Bind the address once; every web process serves from this one socket.

    Raises: Taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        reason = error.strerror or str(error)
        raise Taken(
            f"cannot listen on {host}:{port}: {reason}; stop the program that does,"
            " or set AI_HUB_PORT"
        ) from error
    listener.setblocking(False)
    return listener


def is_claimed(folder: Path) -> bool:
    """Tell whether a hub runs on this data folder."""
    try:
        handle = os.open(folder / "hub.lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
