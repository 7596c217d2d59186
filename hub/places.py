"""Where state lives: folders under the data folder, and sockets that fit into 107 bytes."""

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from hub import keyring

SOCKET_PATH_BYTES = 107  # Source: unix(7), sun_path without its NUL
LONGEST_SOCKET_NAME = "valkey.sock"


def data_folder(folder: Path) -> Path:
    """Make the folder of all state.

    Raises: ImproperlyConfigured, in one line, where nothing can be kept there.
    """
    try:
        folder.mkdir(mode=keyring.FOLDER_MODE, parents=True, exist_ok=True)
        keyring.private_folder(folder / "secrets")
        for file in folder.glob("hub.sqlite3*"):  # sessions and digests, and what SQLite has beside
            with suppress(FileNotFoundError):  # which leaves when its last user does
                file.chmod(keyring.FILE_MODE)
    except OSError as error:
        raise ImproperlyConfigured(
            f"AI_HUB_DATA: {folder} cannot be used: {error.strerror or error}"
        ) from error
    return folder.resolve()


def runtime_folder(data: Path) -> Path:
    """Make the folder of sockets and locks: DATA/run, or a short one where that is too long.

    Raises: OSError.
    """
    inside = data / "run"
    if len(os.fsencode(inside / LONGEST_SOCKET_NAME)) <= SOCKET_PATH_BYTES:
        return keyring.private_folder(inside)
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    return keyring.private_folder(Path(tempfile.gettempdir()) / f"ai-hub-{os.getuid()}-{digest}")
