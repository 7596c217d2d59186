"""Secrets of this installation: made at the first start, kept in DATA/secrets, for the owner only."""

import base64
import os
import secrets
import stat
from pathlib import Path

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def random_key() -> str:
    """Give 256 random bits in URL-safe base64, the form that Fernet takes too."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def private_folder(folder: Path) -> Path:
    """Make a folder that nobody else may enter.

    Raises: OSError, also when the folder belongs to somebody else.
    """
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user")
    if stat.S_IMODE(found.st_mode) != FOLDER_MODE:
        folder.chmod(FOLDER_MODE)
    return folder


def load_or_make(folder: Path, name: str) -> str:
    """Read a secret, making it first if it is not there; of several processes, one wins.

    Raises: OSError.
    """
    file = private_folder(folder) / name
    if not file.exists():
        _publish(file, random_key())
    return file.read_text(encoding="ascii").strip()


def ring(folder: Path, name: str, given: str | None) -> list[str]:
    """Give the keys of a ring, the newest first: of a variable, with commas, or of a file, by line.

    Raises: OSError.
    """
    text = given or load_or_make(folder, name)
    return [key for key in text.replace(",", " ").split() if key]


def renew(folder: Path, name: str) -> str:
    """Put a new key before those of a ring, and give it. Raises: OSError."""
    key, file = random_key(), private_folder(folder) / name
    _replace(file, [key, *file.read_text(encoding="ascii").split()])
    return key


def forget_old(folder: Path, name: str) -> int:
    """Keep the newest key of a ring only; give how many went. Raises: OSError."""
    file = folder / name
    keys = file.read_text(encoding="ascii").split()
    _replace(file, keys[:1])
    return len(keys) - 1


def _replace(file: Path, keys: list[str]) -> None:
    draft = _draft(file, "\n".join(keys))
    draft.replace(file)


def _publish(file: Path, value: str) -> None:
    draft = _draft(file, value)
    try:
        file.hardlink_to(draft)  # fails where another process was first
    except FileExistsError:
        pass
    finally:
        draft.unlink()


def _draft(file: Path, value: str) -> Path:
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(value + "\n")
        stream.flush()
        os.fsync(stream.fileno())
    return draft


def open_to_others(folder: Path) -> list[Path]:
    """List secrets (and the folder) that other users of the machine could read."""
    paths = [folder, *folder.iterdir()] if folder.exists() else []
    return [path for path in paths if path.stat().st_mode & 0o077]
