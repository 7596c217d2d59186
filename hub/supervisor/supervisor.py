"""Keep children running: start, restart with back-off, stop within ten seconds, leave none behind."""

import asyncio
import signal
import time
from collections.abc import Coroutine, Sequence
from typing import Any

import psutil

from hub.supervisor import children
from hub.supervisor.children import Child
from hub.supervisor.logs import Terminal

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
STABLE_S = 30.0  # a child that ran this long, or answered, starts again after the first pause
STOP_S = 7.0  # before the rest is killed; the last children have LAST_STOP_S more
LAST_STOP_S = 1.5
CHECK_EVERY_S = 1.0
BURY_EVERY_S = 0.5
MISSED_CHECKS = 3  # in a row; each has a time limit of its own
ENDED_WELL = "ended with code 0"


class Supervisor:
    """One life of the hub. A child's crash ends nothing but that child."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.stopping = asyncio.Event()
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._keepers: dict[str, asyncio.Task[Any]] = {}
        self._specs: dict[str, Child] = {}
        self._answered: set[str] = set()  # since their last start
        self._undertaker: asyncio.Task[None] | None = None
        children.adopt_orphans()

    def listen_to_signals(self) -> None:
        """The first Ctrl-C or SIGTERM stops in order, a second one kills."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._on_signal)

    def _on_signal(self) -> None:
        if self.stopping.is_set():
            self._signal(list(self._running), signal.SIGKILL)
        self.stopping.set()

    def bury_orphans(self) -> None:
        """Reap adopted processes once they have ended, until the hub stops."""
        self._undertaker = asyncio.create_task(self._bury())

    async def _bury(self) -> None:
        """One that is still unburied at the second look has nobody who waits for it."""
        seen = 0
        while not self.stopping.is_set():
            await asyncio.sleep(BURY_EVERY_S)
            found = children.ended_child()
            is_ours = found in {process.pid for process in self._running.values()}
            if found and found == seen and not is_ours:
                children.bury(found)
            seen = found

    def add(self, child: Child) -> None:
        """Start a child and keep it running until the hub stops."""
        self._specs[child.name] = child
        self._keepers[child.name] = asyncio.create_task(self._keep(child), name=child.name)

    async def run_once(self, child: Child) -> bool:
        """Run a child that does one thing; tell whether it did, and say so if it did not."""
        self._specs[child.name] = child
        task = asyncio.create_task(self._run_once(child), name=child.name)
        self._keepers[child.name] = task
        stopping = asyncio.create_task(self.stopping.wait())
        await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not task.done() or self.stopping.is_set():
            return False
        if (ending := task.result()) != ENDED_WELL:
            self._say(f"{child.name} {ending}")
            return False
        return True

    async def while_running(self, work: Coroutine[None, None, None]) -> None:
        """Do this, unless the hub is stopped first."""
        task = asyncio.create_task(work)
        stopping = asyncio.create_task(self.stopping.wait())
        await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
        for each in (task, stopping):
            each.cancel()
        if task.done() and not task.cancelled():
            task.result()

    def pid(self, name: str) -> int | None:
        process = self._running.get(name)
        return process.pid if process else None

    async def _keep(self, child: Child) -> None:
        pause_s = FIRST_PAUSE_S
        while not self.stopping.is_set():
            started_s = time.monotonic()
            ending = await self._run_once(child)
            if self.stopping.is_set():
                return
            if child.name in self._answered or time.monotonic() - started_s >= STABLE_S:
                pause_s = FIRST_PAUSE_S
            self._say(f"{child.name} {ending}; it starts again in {pause_s:g} s")
            await self._pause(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _run_once(self, child: Child) -> str:
        """Run a child to its end and say how it ended."""
        self._answered.discard(child.name)
        try:
            process = await children.start(child)
        except OSError as error:
            return f"could not be started ({error.strerror})"
        self._running[child.name] = process
        assert process.stdout is not None  # noqa: S101 - it was asked for as a pipe
        # Grandchildren may hold the pipe open longer: the child's own end counts.
        pump = asyncio.create_task(self.terminal.pump(child.name, process.stdout))
        watch = asyncio.create_task(self._watch(child, process))
        code = await children.ended(process)
        watch.cancel()
        await asyncio.wait([pump], timeout=0.5)
        pump.cancel()
        self._running.pop(child.name, None)
        children.signal_group(process, signal.SIGKILL)
        if child.ended is not None:
            child.ended(process.pid)
        return _describe(code)

    async def _watch(self, child: Child, process: asyncio.subprocess.Process) -> None:
        """End a child that is there but answers no more, such as a stopped one: it starts again."""
        answered, missed = False, 0
        while child.answers is not None and missed < MISSED_CHECKS:
            await asyncio.sleep(CHECK_EVERY_S)
            if await child.answers():
                answered, missed = True, 0
                self._answered.add(child.name)
            elif answered:
                missed += 1
        if missed:
            self._say(f"{child.name} answers no more; it is ended")
            children.signal_group(process, signal.SIGKILL)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except TimeoutError:
            return

    async def stop(self) -> None:
        """Stop everything; when this returns, no process is left."""
        self.stopping.set()
        names = list(self._specs)
        await self._stop([name for name in names if not self._specs[name].last], STOP_S)
        await self._stop([name for name in names if self._specs[name].last], LAST_STOP_S)
        _kill_descendants()

    async def _stop(self, names: Sequence[str], limit_s: float) -> None:
        self._signal(names, signal.SIGTERM)
        keepers = [self._keepers[name] for name in names]
        if not keepers:
            return
        _, late = await asyncio.wait(keepers, timeout=limit_s)
        if late:
            self._say(f"{', '.join(task.get_name() for task in late)}: killed, too slow to stop")
            self._signal(names, signal.SIGKILL)
            await asyncio.wait(keepers, timeout=1.0)

    def _signal(self, names: Sequence[str], number: signal.Signals) -> None:
        for name in names:
            if process := self._running.get(name):
                children.signal_group(process, number)

    def _say(self, text: str) -> None:
        self.terminal.line("hub", text)


def _describe(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _kill_descendants() -> None:
    """Adopted orphans included: the supervisor reaps for all of them."""
    left = psutil.Process().children(recursive=True)
    for process in left:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(left, timeout=1.0)
