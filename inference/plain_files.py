"""Opening files that strangers may have put there: a pipe or device in a file's place never blocks us."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_plain(file: Path) -> BinaryIO:
    """Open for reading, links followed. Raises: OSError, also for what is no plain file."""
    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "this is no plain file", file.name)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise
