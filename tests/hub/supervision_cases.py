"""Cases of the supervisor that stop it: it ends every process below its own, so they have one.

`test_supervision` runs them.
"""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace

import psutil
import pytest

from hub.supervisor import supervisor as supervision
from hub.supervisor.children import Child
from hub.supervisor.logs import Terminal
from hub.supervisor.supervisor import Supervisor

STAY = "import os, time; print('pid', os.getpid(), flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + STAY
PARENT = (
    "import subprocess, sys, time;"
    f"subprocess.Popen([sys.executable, '-c', {STUBBORN!r}], start_new_session=True);"
    "time.sleep(600)"
)


LEAVES_ONE = (
    "import subprocess, sys, time;"
    f"child = subprocess.Popen([sys.executable, '-c', {STUBBORN!r}], start_new_session=True);"
    "print('left', child.pid, flush=True);"
    "time.sleep(600)"
)


class Lines(Terminal):
    """A terminal whose lines can be waited for."""

    def __init__(self) -> None:
        super().__init__(json_lines=False, colour=False)
        self.queue: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def line(self, name: str, text: str) -> None:
        self.queue.put_nowait((name, text))

    async def next(self, wanted: Callable[[str, str], bool]) -> str:
        async with asyncio.timeout(30):
            while not wanted(*(item := await self.queue.get())):
                pass
        return item[1]

    async def pid_of(self, name: str) -> int:
        line = await self.next(lambda who, text: who == name and text.startswith("pid"))
        return int(line.split()[1])


def python(name: str, code: str) -> Child:
    return Child(name, (sys.executable, "-c", code))


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(supervision, "STOP_S", 2.0)


async def test_it_starts_a_crashed_child_again_and_leaves_the_others_alone() -> None:
    lines = Lines()
    supervisor = Supervisor(lines)
    supervisor.add(python("a", STAY))
    first_a = await lines.pid_of("a")
    supervisor.add(python("b", STAY))
    first_b = await lines.pid_of("b")
    psutil.Process(first_a).kill()
    assert "SIGKILL" in await lines.next(lambda who, text: who == "hub" and text.startswith("a "))
    assert await lines.pid_of("a") != first_a
    assert supervisor.pid("b") == first_b
    await supervisor.stop()


async def test_it_waits_longer_after_each_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = Lines()
    supervisor = Supervisor(lines)
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 4:
            supervisor.stopping.set()

    monkeypatch.setattr(supervisor, "_pause", note)
    supervisor.add(python("a", "raise SystemExit(3)"))
    await lines.next(lambda _who, text: "code 3" in text)
    async with asyncio.timeout(30):
        await supervisor.stopping.wait()
    assert pauses == [0.01, 0.02, 0.04, 0.08]
    await supervisor.stop()


async def test_one_that_answered_starts_again_at_once_however_often_it_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervision, "CHECK_EVERY_S", 0.0)
    lines, asked = Lines(), asyncio.Event()
    supervisor = Supervisor(lines)

    async def answers() -> bool:
        asked.set()
        return True

    supervisor.add(replace(python("a", STAY), answers=answers))
    for _ in range(3):
        process = await lines.pid_of("a")
        asked.clear()
        await asked.wait()
        psutil.Process(process).kill()
        assert "in 0.01 s" in await lines.next(lambda who, text: who == "hub" and "SIGKILL" in text)
    await supervisor.stop()


async def test_it_ends_a_child_that_answers_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "CHECK_EVERY_S", 0.0)
    lines, frozen = Lines(), asyncio.Event()
    supervisor = Supervisor(lines)

    async def answers() -> bool:
        return not frozen.is_set()

    supervisor.add(replace(python("a", STAY), answers=answers))
    first = await lines.pid_of("a")
    psutil.Process(first).suspend()
    frozen.set()
    await lines.next(lambda who, text: who == "hub" and "answers no more" in text)
    frozen.clear()
    assert await lines.pid_of("a") != first
    await supervisor.stop()


async def test_it_goes_on_when_a_program_is_missing() -> None:
    lines = Lines()
    supervisor = Supervisor(lines)
    supervisor.add(Child("gone", ("/no/such/program",)))
    assert "could not be started" in await lines.next(lambda who, _text: who == "hub")
    supervisor.add(python("a", STAY))
    assert await lines.pid_of("a")
    await supervisor.stop()


async def test_it_leaves_no_process_not_even_a_stubborn_grandchild() -> None:
    lines = Lines()
    supervisor = Supervisor(lines)
    supervisor.add(python("a", STUBBORN))
    supervisor.add(python("b", PARENT))
    pids = [await lines.pid_of(name) for name in ("a", "b")]
    await supervisor.stop()
    assert [pid for pid in pids if psutil.pid_exists(pid)] == []


async def test_it_stops_the_last_ones_after_the_others() -> None:
    lines = Lines()
    supervisor = Supervisor(lines)
    code = (
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]);"
        "print('pid 0', flush=True); signal.sigwait([signal.SIGTERM]); print('ended', flush=True)"
    )
    supervisor.add(Child("store", (sys.executable, "-c", code), last=True))
    supervisor.add(python("web", code))
    for name in ("store", "web"):
        await lines.pid_of(name)
    await supervisor.stop()
    ended = [lines.queue.get_nowait() for _ in range(lines.queue.qsize())]
    assert [name for name, text in ended if text == "ended"] == ["web", "store"]


async def test_it_starts_a_child_again_whose_own_child_still_holds_its_output() -> None:
    lines = Lines()
    supervisor = Supervisor(lines)
    supervisor.add(python("a", LEAVES_ONE))
    await lines.next(lambda _, text: text.startswith("left"))
    parent = supervisor.pid("a")
    assert parent
    psutil.Process(parent).kill()
    await lines.next(lambda _, text: text.startswith("left"))
    await supervisor.stop()


async def test_it_buries_adopted_processes_that_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(supervision, "BURY_EVERY_S", 0.01)
    lines = Lines()
    supervisor = Supervisor(lines)
    supervisor.bury_orphans()
    supervisor.add(python("a", LEAVES_ONE))
    orphan = int((await lines.next(lambda _, text: text.startswith("left"))).split()[1])
    parent = supervisor.pid("a")
    assert parent
    psutil.Process(parent).kill()
    await lines.next(lambda who, text: who == "hub" and "SIGKILL" in text)
    psutil.Process(orphan).kill()
    async with asyncio.timeout(30):
        while psutil.pid_exists(orphan):  # noqa: ASYNC110 (nobody tells of a burial)
            await asyncio.sleep(0.01)
    await supervisor.stop()
