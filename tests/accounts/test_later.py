"""What is written late: off the caller's thread, again after a failure, and with what came meanwhile."""

import threading

from django.db import DatabaseError

from accounts.later import Later

LONG_S = 30


def test_it_tries_again_by_itself_until_it_succeeds() -> None:
    notes, threads, done = ["a"], [], threading.Event()

    def flush() -> None:
        threads.append(threading.current_thread())
        if len(threads) < 3:
            raise DatabaseError("away")
        notes.clear()
        done.set()

    later = Later(0.001, flush, lambda: notes, "not yet")
    later.arm()
    assert done.wait(LONG_S)
    assert threading.current_thread() not in threads
    assert len(threads) == 3


def test_what_is_noted_during_a_flush_is_not_left_behind() -> None:
    notes, flushing, noted, done = ["a"], threading.Event(), threading.Event(), threading.Event()
    written: list[str] = []

    def flush() -> None:
        written.append(notes.pop())
        flushing.set()
        assert noted.wait(LONG_S)
        if written == ["a", "b"]:
            done.set()

    later = Later(0.001, flush, lambda: notes, "not yet")
    later.arm()
    assert flushing.wait(LONG_S)
    notes.append("b")
    later.arm()
    noted.set()
    assert done.wait(LONG_S)
