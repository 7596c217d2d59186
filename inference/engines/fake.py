"""An engine without a model, for tests of the node and the API: deterministic, settable, no libraries.

`spec.options`: load_s, memory_bytes (really taken), fail_load, crash_load, hang_load, tokens_per_s,
crash_after_tokens, last_words (before that), hang_after_tokens, compute_s (before the first word), reply, ignore_probe, embed_dimensions,
eat_load_bytes, eat_bytes (taken while loading, and after the first word, whatever was given).
A reply is the words of `reply`, or of the prompt's last message, over and over.
"""

import hashlib
import itertools
import os
import signal
import struct
import sys
import threading
import time
from dataclasses import dataclass, field

from inference import wire
from inference.engines.allowance import within_budget
from inference.engines.base import Job, Setting, failed, failure_of
from inference.engines.handover import UNLOADED, OneThreadEngine
from inference.errors import HubError, LoadFailed, OutOfMemory, UnsupportedModel

CONTEXT_TOKENS = 4096
DEFAULT_MAX_TOKENS = 64


@dataclass(slots=True, eq=False)
class Reply:
    """One running generation; `words` never ends, `stop` and `max_tokens` do."""

    job: Job
    prompt_tokens: int
    words: list[str]
    body: wire.Generate
    limit: int
    started_s: float = field(default_factory=time.monotonic)
    first_s: float = 0.0
    made_tokens: int = 0
    text: str = ""
    open_choices: set[int] = field(default_factory=set)


class Fake(OneThreadEngine):
    thread_name = "fake"

    def __init__(self) -> None:
        super().__init__()
        self._running: dict[int, Reply] = {}
        self._steps = self._prompt = self._completion = self._cancelled = 0
        self._never = threading.Event()
        self._eaten = b""

    # --- contract ---------------------------------------------------------------------------

    def load(self, spec: wire.ModelSpec, setting: Setting) -> wire.Loaded:
        self._options = spec.options
        wanted = int(spec.options.get("memory_bytes", 0))
        if setting.memory_bytes and wanted > setting.memory_bytes:
            raise OutOfMemory(f"{wanted} bytes do not fit into {setting.memory_bytes}")
        self._eaten = b"\1" * int(spec.options.get("eat_load_bytes", 0))
        self._wait_for_load(float(spec.options.get("load_s", 0.0)), max(wanted, 1), setting)
        if spec.options.get("fail_load"):
            raise LoadFailed(str(spec.options["fail_load"]))
        self._memory = b"\1" * wanted
        self._thread.start()
        return wire.Loaded(
            memory_bytes=wanted,
            weights_bytes=wanted,
            device=setting.device,
            dtype="fake",
            context_tokens=spec.context_tokens or CONTEXT_TOKENS,
            load_s=float(spec.options.get("load_s", 0.0)),
            capabilities=["chat", "completions", "embeddings", "transcriptions"],
        )

    def stats(self) -> wire.Stats:
        return wire.Stats(
            running=len(self._running),
            waiting=len(self._inbox),
            steps_total=self._steps,
            prompt_tokens_total=self._prompt,
            completion_tokens_total=self._completion,
            cancelled_total=self._cancelled,
        )

    # --- engine thread ----------------------------------------------------------------------

    def _wait_for_load(self, load_s: float, total_bytes: int, setting: Setting) -> None:
        if self._options.get("crash_load"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._options.get("hang_load"):
            self._never.wait()
        parts = max(1, round(load_s / 0.05))
        for part in range(parts):
            setting.progress(total_bytes * part // parts, total_bytes)
            self._never.wait(load_s / parts)
        setting.progress(total_bytes, total_bytes)

    def _serve(self) -> None:
        rate = float(self._options.get("tokens_per_s", 0.0))
        while self._take():
            self._step()
            if rate and self._running:
                self._never.wait(1.0 / rate)
        for reply in self._running.values():
            reply.job.emit(failure_of(UNLOADED))

    def _take(self) -> bool:
        """Move arrivals in; wait while there is nothing to do. Give False when closing."""
        self._wait_for(lambda: self._running)
        while self._inbox:
            item = self._inbox.popleft()
            if isinstance(item, Job):
                self._begin(item)
            elif reply := self._running.pop(item, None):
                self._cancelled += 1
                reply.job.emit(self._done(reply))
        return not self._closing

    def _begin(self, job: Job) -> None:
        body = job.body
        if isinstance(body, wire.Generate):
            self._generate(job, body)
        elif isinstance(body, wire.Embed):
            self._embed(job, body)
        elif isinstance(body, wire.Transcribe):
            self._transcribe(job, body)
        elif not self._options.get("ignore_probe"):
            job.emit(wire.Done())

    def _generate(self, job: Job, body: wire.Generate) -> None:
        text = _prompt_text(body.prompt)
        if text is None:
            job.emit(wire.Failure(code=UnsupportedModel.code, message="fake reads no tokens"))
            return
        words = str(self._options.get("reply", text)).split() or ["nothing"]
        until_s = time.monotonic() + float(self._options.get("compute_s", 0.0))
        while time.monotonic() < until_s:
            pass  # as a long prefill does: it computes, and says nothing
        count = len(text.split())
        try:
            limit = within_budget(body.sampling.max_tokens or DEFAULT_MAX_TOKENS, count, body)
        except HubError as error:
            job.emit(failure_of(error))
            return
        self._prompt += count
        open_choices = set(range(body.n))
        self._running[job.stream] = Reply(job, count, words, body, limit, open_choices=open_choices)

    def _step(self) -> None:
        """Give every running reply one more word."""
        self._steps += 1
        for reply in list(self._running.values()):
            self._misbehave()
            if reply.job.stream not in self._running:
                continue  # there was no memory for it
            self._advance(reply)
            if not reply.open_choices:
                del self._running[reply.job.stream]
                reply.job.emit(self._done(reply))

    def _advance(self, reply: Reply) -> None:
        word = reply.words[reply.made_tokens % len(reply.words)]
        piece = word if not reply.made_tokens else f" {word}"
        reply.text += piece
        reply.made_tokens += 1
        reply.first_s = reply.first_s or time.monotonic() - reply.started_s
        finish: wire.FinishReason | None = None
        if any(stop and stop in reply.text for stop in reply.body.sampling.stop):
            piece, finish = "", "stop"
        elif reply.made_tokens >= reply.limit:
            finish = "length"
        for index in range(reply.body.n):
            self._completion += 1
            told = reply.prompt_tokens if reply.made_tokens == 1 else 0
            reply.job.emit(
                wire.Delta(
                    index=index, text=piece, tokens=1, finish_reason=finish, prompt_tokens=told
                )
            )
        if finish:
            reply.open_choices.clear()

    def _misbehave(self) -> None:
        crash = int(self._options.get("crash_after_tokens", -1))
        if 0 <= crash <= self._completion:
            sys.stderr.write(f"{self._options.get('last_words', '')}\n")
            os.kill(os.getpid(), signal.SIGKILL)
        if self._completion and not self._eaten:
            self._eat(int(self._options.get("eat_bytes", 0)))
        hang = int(self._options.get("hang_after_tokens", 0))
        if hang and self._completion >= hang:
            self._never.wait()

    def _eat(self, size: int) -> None:
        try:
            self._eaten = b"\1" * size
        except MemoryError as problem:
            error = failed(problem, "this step")
            running, self._running = self._running, {}
            for reply in running.values():
                reply.job.emit(failure_of(error))

    def _done(self, reply: Reply) -> wire.Done:
        return wire.Done(
            usage=wire.Usage(
                prompt_tokens=reply.prompt_tokens,
                completion_tokens=reply.made_tokens * reply.body.n,
            ),
            timing=wire.Timing(first_s=reply.first_s, total_s=time.monotonic() - reply.started_s),
        )

    def _embed(self, job: Job, body: wire.Embed) -> None:
        size = body.dimensions or int(self._options.get("embed_dimensions", 8))
        rows = [_vector(str(item), size) for item in body.inputs]
        tokens = sum(len(str(item).split()) for item in body.inputs)
        self._prompt += tokens
        job.emit(wire.Vectors(rows=len(rows), dimensions=size, data=b"".join(rows)))
        job.emit(wire.Done(usage=wire.Usage(prompt_tokens=tokens)))

    def _transcribe(self, job: Job, body: wire.Transcribe) -> None:
        words = str(self._options.get("reply", f"{len(body.audio)} bytes of audio")).split()
        for number, word in enumerate(words):
            job.emit(wire.Segment(id=number, start_s=number, end_s=number + 1.0, text=f" {word}"))
        seconds = float(len(words))
        usage = wire.Usage(completion_tokens=len(words), audio_s=seconds)
        job.emit(wire.Done(usage=usage, language=body.language or "en", duration_s=seconds))


def _prompt_text(prompt: wire.Prompt) -> str | None:
    if isinstance(prompt, wire.TextPrompt):
        return prompt.text
    if isinstance(prompt, wire.ChatPrompt):
        return prompt.messages[-1].content if prompt.messages else ""
    return None


def _vector(text: str, size: int) -> bytes:
    """Give a unit vector that depends on nothing but the text."""
    digest = hashlib.sha256(text.encode()).digest()
    values = [byte - 127.5 for byte in itertools.islice(itertools.cycle(digest), size)]
    length = sum(value * value for value in values) ** 0.5
    return struct.pack(f"<{size}f", *(value / length for value in values))


ENGINE = Fake
