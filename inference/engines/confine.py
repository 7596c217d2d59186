"""What an engine process gives up before it touches a model: the network, and life after its node.

Works without root where the kernel allows user namespaces; says in the log what it could not have.
"""

import contextlib
import ctypes
import fcntl
import logging
import os
import signal
import socket
import struct
from pathlib import Path

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000  # Source: linux/sched.h
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38  # Source: linux/prctl.h
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1  # Source: linux/sockios.h, linux/if.h

ATTRIBUTES_BYTES = 64  # Source: glibc's pthread_attr_t, 56 on x86-64, 64 on aarch64
OOM_SCORE = 800  # of 1000; the node's own is usually 0

LIBC = ctypes.CDLL(None, use_errno=True)  # loaded before any fork

log = logging.getLogger(__name__)


def confine(parent: int, *, network: bool = False) -> bool:
    """Call before any thread is started. Gives whether the network is off."""
    be_ended_first()
    offline = False if network else leave_network()
    _die_with(parent)  # after leave_network: new credentials clear the death signal
    return offline


def _die_with(parent: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if parent and os.getppid() != parent:
        os._exit(0)  # the node ended before the signal was set


def be_ended_first() -> None:
    """Where memory runs out the kernel shall take an engine, and neither node nor web."""
    with contextlib.suppress(OSError, ValueError):
        file = Path("/proc/self/oom_score_adj")
        file.write_text(str(max(OOM_SCORE, int(file.read_text()))))


def die_with_parent() -> None:
    """For a child between fork and exec: end when this process ends, however it ends."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def narrow_stacks(size: int) -> None:
    """Let threads that libraries start from now on set so much aside: usually 8 MiB, hardly used."""
    attributes = ctypes.create_string_buffer(ATTRIBUTES_BYTES)
    with contextlib.suppress(AttributeError):  # a C library that has it not
        LIBC.pthread_attr_init(attributes)
        LIBC.pthread_attr_setstacksize(attributes, ctypes.c_size_t(size))
        LIBC.pthread_setattr_default_np(attributes)


def leave_network() -> bool:
    """Move into a network namespace of its own, where only loopback exists."""
    try:
        _unshare()
        _raise_loopback()
    except (OSError, AttributeError) as error:
        log.info("engine keeps its network: %s", error)
        return False
    return True


def _unshare() -> None:
    """Root keeps its user (and the rights to read its files); others take a namespace for it."""
    if os.geteuid() == 0 and LIBC.unshare(CLONE_NEWNET) == 0:
        return
    user, group = os.geteuid(), os.getegid()
    if LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def _raise_loopback() -> None:
    """Libraries talk to themselves over loopback; in the new namespace it is down at first."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(probe, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(probe, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | IFF_UP))
