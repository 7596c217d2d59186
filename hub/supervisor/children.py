"""One supervised process: how it is started, told to stop, and kept from outliving the hub."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

PR_SET_PDEATHSIG = 1  # Source: linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
LOOK_EVERY_S = 0.1

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True)
class Child:
    """What to run. `last` children are stopped after the others, which need them to end well."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)
    keep_fds: tuple[int, ...] = ()
    last: bool = False
    ended: Callable[[int], None] | None = None  # called with the process id of each ended run
    answers: Callable[[], Awaitable[bool]] | None = None  # one that answered once, then not: ended


def adopt_orphans() -> None:
    """Become the parent of grandchildren whose parent died, so that none is lost sight of."""
    if _libc is not None:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)


def ended_child() -> int:
    """Give a child that has ended and that nobody has waited for yet, or 0; it stays as it is."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return 0
    return found.si_pid if found else 0


def bury(pid: int) -> None:
    """Wait for an adopted process that has ended: else its number would stay taken for ever."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _end_with(parent: int) -> Callable[[], None]:
    """Give a function for the new process: get SIGTERM when the supervisor dies, even by -9."""

    def prepare() -> None:
        if _libc is not None:
            _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return prepare


async def start(child: Child) -> asyncio.subprocess.Process:
    """Start in a session of its own, so that Ctrl-C reaches the supervisor alone.

    Raises: OSError.
    """
    return await asyncio.create_subprocess_exec(
        *child.argv,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "HUB_PROCESS": child.name, **child.env},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
        pass_fds=child.keep_fds,
        preexec_fn=_end_with(os.getpid()),
    )


async def ended(process: asyncio.subprocess.Process) -> int:
    """Give the code of a child that has ended; `wait` waits for whoever else holds its output, too."""
    while (code := process.returncode) is None:  # noqa: ASYNC110 (it offers no event)
        await asyncio.sleep(LOOK_EVERY_S)
    return code


def signal_group(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Signal a child and what it started in its session; one that has ended is no error."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return
