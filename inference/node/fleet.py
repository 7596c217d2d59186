"""The engine processes of this machine: started, stopped, measured, written down. The pool's hands."""

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from inference import wire
from inference.errors import EngineFailed, EngineOutOfMemory, HubError
from inference.node import containment, devices, kernel_limits, memory
from inference.node.devices import Device
from inference.node.effects import Start
from inference.node.peaks import Peaks
from inference.node.placement import Placement
from inference.node.process import LINES, EngineProcess, environment, spawn
from inference.node.reaper import Roster
from inference.node.running import Events, Running
from inference.node.settings import NodeSettings
from inference.node.standby import Standby

NETWORKED = frozenset({"remote_openai"})  # every other engine loses its network
MODELS_KEPT = 50  # whose last lines are kept after their engine has ended

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Measured:
    """Bytes on each device; `alone` is as `Fleet.alone` gives it, empty while its model loads."""

    sizes: dict[str, int]
    alone: dict[str, int]


class Fleet:
    def __init__(self, settings: NodeSettings, events: Events) -> None:
        self._events = events
        self._threads = settings.threads or devices.engine_threads()
        self._home = settings.state_dir / "engine-home"
        self._roster = Roster(settings.state_dir / "engines.json")
        env = environment(self._threads, self._home)
        env |= {"HUB_VLLM_PYTHON": settings.vllm_python} if settings.vllm_python else {}
        self._env = env
        self.devices: list[Device] = devices.find(settings.device, settings.memory_limit_bytes)
        self.peaks = Peaks(settings.state_dir / "peaks.json")
        self.standby = Standby(env, count=settings.standby)
        self.running: dict[int, Running] = {}
        self._lines: dict[str, list[str]] = {}  # of engines that have ended, by model
        self._tasks: set[asyncio.Task[None]] = set()
        self._oom = containment.OomWatch()
        self._limits = kernel_limits.find(self._threads, settings.cgroup)

    async def open(self) -> None:
        """End what an earlier node left behind."""
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        await asyncio.to_thread(self._roster.reap)

    async def close(self) -> None:
        """Stop everything at once. Leaves no process behind."""
        processes = [running.process for running in self.running.values() if running.process]
        await asyncio.gather(self.standby.close(), *(process.stop() for process in processes))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._keep([])

    def start(self, order: Start) -> Running:
        running = self.running[order.instance] = Running(order, self._events)
        sleeper = self.running.pop(order.placement.wakes, None)
        if sleeper and sleeper.process:
            self._adopt(running, sleeper.process, wire.Wake())
        else:
            self._task(self._start(running))
        return running

    def contain(self, now: float) -> None:
        """End who passed its memory, before others pay for it; the next load is given more."""
        self._oom.look(containment.oom_kills(), now)
        for running in [*self.running.values()]:
            if running.process and containment.is_over(running):
                self._learn_overrun(running)
                running.process.kill()

    def hold(self, running: Running, given_bytes: int) -> None:
        """Let it have so much main memory; the kernel sees to it."""
        running.given_bytes = given_bytes
        if running.process:
            on_gpu = running.order.placement.device != "cpu"
            size = containment.allowed_bytes(running)
            self._limits.hold(running.process.pid, size, on_gpu=on_gpu)

    def cause(self, running: Running, now: float) -> EngineFailed:
        self._oom.look(containment.oom_kills(), now)
        pid = running.process.pid if running.process else 0
        if self._limits.has_ended(pid):
            running.overrun_bytes = running.overrun_bytes or containment.allowed_bytes(running)
        return containment.cause(running, killed_by_kernel=self._oom.is_fresh(now))

    def stop(self, running: Running) -> None:
        """Close its socket; `on_exit` follows. Before its process is there, `_start` sees to it."""
        is_first, running.stopping = not running.stopping, True
        if running.process:
            self._task(self._end(running, running.process, is_first=is_first))

    async def _end(self, running: Running, process: EngineProcess, *, is_first: bool) -> None:
        """What it holds is read before it goes."""
        reads = is_first and running.loaded is not None
        if reads and (held := await asyncio.to_thread(self.alone, running, {})):
            self.learn(running, held)
        await process.stop()

    async def gone(self, running: Running) -> None:
        """Wait until the process has ended: then its memory is back."""
        if running.process:
            await running.process.ended.wait()
            self._limits.forget(running.process.pid)
        self.running.pop(running.id, None)
        self._keep_lines(running)
        self._write_down()

    def detach(self, question: wire.Detach) -> None:
        """Tell the engines of a model that one of its adapters is no more."""
        for running in self.running.values():
            if running.name == question.model and running.process and running.loaded:
                running.process.send(question)

    def tail(self, name: str) -> list[str]:
        """Give the last lines of a model's engine, also when it has ended: then they matter most."""
        processes = [r.process for r in self.running.values() if r.name == name]
        now = [line for process in processes if process for line in process.lines]
        return [*self._lines.get(name, ()), *now][-LINES:]

    def _keep_lines(self, running: Running) -> None:
        """The models that ended last are kept; the one that ended first makes room."""
        kept = [
            *self._lines.pop(running.name, ()),
            *(running.process.lines if running.process else ()),
        ]
        self._lines[running.name] = kept[-LINES:]
        if len(self._lines) > MODELS_KEPT:
            del self._lines[next(iter(self._lines))]

    def learn(self, running: Running, claim: dict[str, int]) -> None:
        """Keep what was needed beside keys and values, as far as it was asked for."""
        placement, loaded = running.order.placement, running.loaded
        if loaded is None:
            return
        held = claim.get(placement.device, 0)
        size, left = memory.learnt(placement, loaded, held, running.worked)
        self.peaks.remember(running.order.spec, placement.device, size, left)

    def _learn_overrun(self, running: Running) -> None:
        """Within reason: one request that makes it grow without end must not keep the model out."""
        placement = running.order.placement
        if placement.device == "cpu":
            most = int(placement.usual_bytes * containment.LEARNT_MOST)
            size = min(running.overrun_bytes - placement.kv_bytes, most)
            self.peaks.remember(running.order.spec, placement.device, size)

    def learn_refused(self, running: Running, error: HubError) -> None:
        """Where the kernel gave it no more, it would have passed its limit."""
        if isinstance(error, EngineOutOfMemory):
            running.overrun_bytes = containment.allowed_bytes(running)
            self._learn_overrun(running)

    def learn_base(self, running: Running) -> None:
        """It has just been loaded."""
        if running.process:
            running.most_is_true = devices.forget_most(running.process.pid)
        placement, loaded = running.order.placement, running.loaded
        if loaded and (size := memory.base_of(placement, loaded)):
            self.peaks.learn_base(placement.variant, placement.device, size)

    def alone(self, running: Running, sizes: dict[str, int]) -> dict[str, int]:
        """Give the most since it was loaded, as if nobody shared its pages: whoever does may leave."""
        if running.process is None or not running.process.alive:
            return sizes
        read = devices.most_memory if running.most_is_true else devices.alone_memory
        whole = read(running.process.pid)
        return {**sizes, "cpu": max(whole, sizes.get("cpu", 0))}

    def measure(self) -> dict[int, Measured]:
        """Give what each instance holds on each device. Reads /proc and the driver: in a thread."""
        on_gpu = devices.gpu_process_memory() if len(self.devices) > 1 else {}
        found = {}
        for running in [*self.running.values()]:
            if running.process and running.process.alive:
                sizes = self._measure(running, running.process.pid, on_gpu)
                alone = self.alone(running, sizes) if running.loaded else {}
                found[running.id] = Measured(sizes, alone)
        self.devices = devices.refresh(self.devices)
        return found

    def _measure(
        self, running: Running, pid: int, on_gpu: dict[tuple[int, str], int]
    ) -> dict[str, int]:
        """In a container the driver may not know our process numbers: then the engine's own word."""
        family = devices.family(pid)
        sizes: dict[str, int] = {}
        for (owner, device), size in on_gpu.items():
            if owner in family:
                sizes[device] = sizes.get(device, 0) + size
        if running.loaded and running.loaded.device.startswith("cuda"):
            sizes.setdefault(running.order.placement.device, running.loaded.memory_bytes)
        return {**sizes, "cpu": sum(map(devices.process_memory, family))}

    async def _start(self, running: Running) -> None:
        spec, placement = running.order.spec, running.order.placement
        process = self.standby.take(spec.engine)
        if process is None:
            try:
                network = spec.engine in NETWORKED
                process = await spawn(running.name, self._env, network=network)
            except OSError as error:
                failure = wire.Failure(code="model_load_failed", message=f"no process: {error}")
                self._events.on_load_failed(running, failure)
                self._events.on_exit(running)
                return
        start = wire.Start(
            spec=_placed(spec, placement),
            threads=self._threads,
            memory_bytes=placement.allowance_bytes,
            kv_bytes=placement.kv_bytes,
            devices=[name for name in placement.devices if name != "cpu"],
        )
        self._adopt(running, process, start)
        if running.stopping:
            await process.stop()
        self._write_down()

    def _adopt(
        self, running: Running, process: EngineProcess, start: wire.Start | wire.Wake
    ) -> None:
        """The limit holds before the engine hears of its model."""
        running.process = process
        self.hold(running, running.order.placement.claim.get("cpu", 0))
        running.adopt(process, start)

    def _write_down(self) -> None:
        processes = [running.process for running in self.running.values()]
        processes += self.standby.processes
        self._keep(process.pid for process in processes if process and process.alive)

    def _keep(self, pids: Iterable[int]) -> None:
        try:
            self._roster.keep(pids)
        except OSError as error:  # a full disk must not stop a model from starting
            log.warning("the list of engines cannot be written: %s", error)

    def _task(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _placed(spec: wire.ModelSpec, placement: Placement) -> wire.ModelSpec:
    """Tell the engine where it is, and how long a request may be there."""
    tokens = placement.context_tokens or spec.context_tokens
    return msgspec.structs.replace(spec, device=placement.device, context_tokens=tokens)
