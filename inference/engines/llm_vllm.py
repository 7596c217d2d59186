"""The engine for vLLM, a child with an environment of its own: one model over several GPUs, or on a CPU.

Prompts are rendered here, by the same rules as everywhere, and sent as token ids. The child listens on
loopback, in the network namespace of this process, where nobody else can reach it.
"""

import asyncio
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import msgspec
import psutil

from inference import wire
from inference.engines.base import Setting
from inference.engines.choice import room_for
from inference.engines.confine import die_with_parent
from inference.engines.footprint import Footprint
from inference.engines.prompts import param_of
from inference.engines.upstream_client import Upstream
from inference.engines.upstream_engine import UpstreamEngine
from inference.engines.vllm_adapters import VllmAdapters
from inference.engines.vllm_command import Options, command, environment, may_sleep
from inference.engines.vllm_sleep import VllmSleep
from inference.engines.vocabulary import Vocabulary
from inference.errors import EngineFailed, HubError, LoadFailed, UnsupportedModel

START_LIMIT_S = 1800.0
POLL_S = 0.25
STOP_S = 5.0
KEPT_LINES = 20
EXIT_LOST = 70
SHARDS = re.compile(r"(\d+)% Completed")
BY_NUMBER = "token_id:"  # how vLLM names a token by its number


class LlmVllm(UpstreamEngine):
    def __init__(self) -> None:
        super().__init__()
        self._child: subprocess.Popen[str] | None = None
        self._lines: list[str] = []
        self._serving = False
        self._sleep: VllmSleep | None = None
        self._is_awake = True
        self._unwanted: list[str] = []  # adapters that were to be let go of in its sleep
        self.on_loss: Callable[[], object] = end_process

    # --- contract -------------------------------------------------------------------------------

    def load(self, spec: wire.ModelSpec, setting: Setting) -> wire.Loaded:
        started_s = time.monotonic()
        footprint = Footprint("cpu")
        folder = Path(spec.path)
        self._vocabulary = Vocabulary.load(folder)
        self._prompts = self._vocabulary.prompt_encoder()
        self._context = spec.context_tokens or _context_tokens(folder)
        self._start(spec, setting)
        if may_sleep(Options.of(spec), setting):
            self._sleep = self.wait(self._offered_sleep())
        self._loaded = wire.Loaded(
            memory_bytes=footprint.total_bytes,
            device=setting.device,
            dtype=spec.dtype,
            context_tokens=self._context,
            load_s=time.monotonic() - started_s,
            sleeps=self._sleep is not None,
            capabilities=["chat", "completions"],
        )
        return self._loaded

    def close(self) -> None:
        self._serving = False
        super().close()
        if self._child is None:
            return
        family = _family(self._child.pid)
        self._child.terminate()
        _, alive = psutil.wait_procs(family, STOP_S)
        for process in alive:
            process.kill()
        psutil.wait_procs(alive, STOP_S)

    def sleep(self) -> None:
        self.wait(self._fall_asleep())

    def wake(self) -> wire.Loaded:
        began_s = time.monotonic()
        self.wait(self._wake_up())
        return msgspec.structs.replace(self._loaded, load_s=time.monotonic() - began_s)

    def detach(self, adapter: str) -> None:
        self._loop.call_soon_threadsafe(self._let_go, adapter)

    def _let_go(self, adapter: str) -> None:
        if self._is_awake:
            self._leaving = asyncio.ensure_future(self._adapters.let_go(adapter))
        else:
            self._unwanted.append(adapter)  # its place is on a GPU that is not there now

    def stats(self) -> wire.Stats:
        return msgspec.structs.replace(super().stats(), adapters=self._adapters.names)

    async def prepared(self, body: wire.Generate) -> wire.Generate:
        """Render, check the context before anything is computed, and name the room there is."""
        prompt = await asyncio.to_thread(self._prompts.encode, body.prompt, self._context)
        if body.adapter:
            await self._adapters.need(body.adapter)
        room = room_for(body, prompt, self._context, param_of(body.prompt))
        rules = msgspec.structs.replace(body.sampling, max_tokens=room)
        tokens = wire.TokenPrompt(tokens=prompt)
        return msgspec.structs.replace(body, prompt=tokens, sampling=rules)

    async def probe(self) -> None:
        """Compute one real token."""
        rules = wire.Sampling(max_tokens=1, temperature=0.0, ignore_eos=True)
        body = wire.Generate(prompt=wire.TokenPrompt(tokens=[0]), sampling=rules)
        await self._upstream.generate(body, lambda _frame: None)

    def shown(self, delta: wire.Delta) -> wire.Delta:
        """Give tokens, which come by number, their text and bytes."""
        if not delta.logprobs:
            return delta
        return msgspec.structs.replace(delta, logprobs=[*map(self._logprob, delta.logprobs)])

    # --- its sleep, on the loop's thread ----------------------------------------------------------

    async def _offered_sleep(self) -> VllmSleep | None:
        found = VllmSleep(self._upstream, self._vocabulary.tokens, self._context)
        return found if await found.is_offered() else None

    async def _fall_asleep(self) -> None:
        """Raises: HubError."""
        if self._sleep is None:
            raise UnsupportedModel("this vLLM was not started so that it can sleep")
        self._is_awake = False
        await self._sleep.begin()

    async def _wake_up(self) -> None:
        """Raises: HubError."""
        if self._sleep is None:
            raise UnsupportedModel("this vLLM was not started so that it can sleep")
        await self._sleep.end()
        self._is_awake, unwanted, self._unwanted = True, self._unwanted, []
        for adapter in unwanted:
            await self._adapters.let_go(adapter)

    # --- the child --------------------------------------------------------------------------------

    def _start(self, spec: wire.ModelSpec, setting: Setting) -> None:
        """Raises: LoadFailed with the child's last words."""
        port, key = _free_port(), secrets.token_hex(16)
        self.wait(self._run_child(spec, setting, port, key))
        more = {"return_tokens_as_token_ids": True}
        headers = {"Authorization": f"Bearer {key}"}
        self._upstream = Upstream(f"http://127.0.0.1:{port}/v1", spec.name, headers, more=more)
        self._adapters = VllmAdapters(self._upstream, Options.of(spec).max_loras)
        until_s = time.monotonic() + START_LIMIT_S
        while not self.wait(self._answers()):
            if self._child is None or self._child.poll() is not None:
                raise LoadFailed(f"vLLM ended: {self._last_words()}")
            if time.monotonic() > until_s:
                raise LoadFailed(f"vLLM did not start within {START_LIMIT_S:.0f} s")
            time.sleep(POLL_S)
        self.wait(self.probe())
        self._serving = True

    async def _run_child(self, spec: wire.ModelSpec, setting: Setting, port: int, key: str) -> None:
        """On the loop's thread: a child's death signal comes when the thread that made it ends."""
        python, options = _python(), Options.of(spec)
        self._child = subprocess.Popen(  # noqa: ASYNC220 (nothing else runs while it loads)
            command(python, spec, options, port, setting),
            env=environment(os.environ, spec, options, setting, key),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=os.environ.get("HOME", "/"),
            preexec_fn=die_with_parent,  # noqa: PLW1509 (one prctl call before exec)
        )
        assert self._child.stdout  # noqa: S101  by PIPE
        args = (self._child.stdout, setting)
        threading.Thread(target=self._copy_log, args=args, name="log", daemon=True).start()
        threading.Thread(target=self._watch, args=(self._child,), name="vllm", daemon=True).start()

    def _copy_log(self, stream: IO[str], setting: Setting) -> None:
        for line in stream:
            self._lines = [*self._lines[-KEPT_LINES:], line.strip()]
            sys.stderr.write(line)
            if found := SHARDS.search(line):
                setting.progress(int(found.group(1)), 100)

    def _watch(self, child: "subprocess.Popen[str]") -> None:
        child.wait()
        if self._serving:
            self.on_loss()

    async def _answers(self) -> bool:
        try:
            return bool(await self._upstream.models())
        except HubError:
            return False

    def _last_words(self) -> str:
        errors = [line for line in self._lines if "Error" in line]
        return (errors or self._lines or ["it gave no reason"])[-1][-300:]

    # --- its tokens -------------------------------------------------------------------------------

    def _logprob(self, found: wire.TokenLogprob) -> wire.TokenLogprob:
        text, raw = self._named(found.token)
        tops = [wire.TopLogprob(*self._swapped(top)) for top in found.top]
        return wire.TokenLogprob(text, found.logprob, raw, tops)

    def _swapped(self, top: wire.TopLogprob) -> tuple[str, float, bytes]:
        text, raw = self._named(top.token)
        return text, top.logprob, raw

    def _named(self, token: str) -> tuple[str, bytes]:
        if not token.startswith(BY_NUMBER):
            raise EngineFailed("vLLM gave a token without its number")
        return self._vocabulary.token_text(int(token.removeprefix(BY_NUMBER)))


def _family(pid: int) -> list[psutil.Process]:
    try:
        server = psutil.Process(pid)
        return [server, *server.children(recursive=True)]
    except psutil.Error:
        return []


def end_process() -> None:
    """Without its server an engine is of no use: its node sees it end, and starts another."""
    os._exit(EXIT_LOST)


def _python() -> str:
    """Raises: LoadFailed."""
    python = os.environ.get("HUB_VLLM_PYTHON", "")
    if not Path(python).is_file():
        raise LoadFailed(
            "vLLM lives in an environment of its own: install it there, and name its Python in"
            " AI_HUB_VLLM_PYTHON"
        )
    return python


def _context_tokens(folder: Path) -> int:
    """Raises: LoadFailed."""
    try:
        config: Mapping[str, Any] = msgspec.json.decode((folder / "config.json").read_bytes())
        return int(config["max_position_embeddings"])
    except (OSError, msgspec.MsgspecError, KeyError, TypeError) as error:
        raise LoadFailed(f"{folder.name} names no context length; set context_tokens") from error


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


ENGINE: Any = LlmVllm
