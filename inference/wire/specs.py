"""Kinds of models, and everything node and engine need to know about one."""

from typing import Literal

import msgspec

Kind = Literal["llm", "embed", "asr", "vlm", "clip", "tts"]
Verdict = Literal["loaded", "loading", "fits", "fits_after_unloading", "waits", "does_not_fit"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
BreakerState = Literal["closed", "open", "half_open"]
ReservationState = Literal["waiting", "granted", "yielding"]
UPSTREAM = frozenset({"remote_openai", "llm_vllm"})  # engines whose prompts another server counts
ModelState = Literal["cold", "loading", "ready", "draining", "asleep", "failed"]


class Message(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True, tag=True):
    """Base of everything that travels; the class name is the tag."""


class Adapter(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """A LoRA adapter that a resident base attaches at its first request."""

    name: str
    path: str  # a folder in PEFT's layout
    version: str = ""  # of its files

    @property
    def key(self) -> str:
        return f"{self.name}@{self.version}"


class ModelSpec(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """Everything that node and engine need to serve a model; they have no database.

    `version` changes when files or settings change: a resident of another version is replaced.
    """

    name: str
    kind: Kind
    engine: str  # module name in inference.engines
    path: str  # a GGUF file, or a folder in Hugging Face or CTranslate2 layout
    projector: str = ""  # another GGUF file, by which a language model in GGUF sees
    version: str = ""
    device: str = "auto"  # auto | cpu | cuda
    dtype: str = "auto"
    context_tokens: int = 0  # at most; 0: the model's own limit
    whole_context: bool = False  # an operator asked for it: planned in full, or nothing is loaded
    max_concurrency: int = 32  # requests in the engine at once
    max_queue: int = 256  # requests waiting in the node
    replicas: int = 1  # engines of this model at once
    idle_unload_s: float | None = None  # None: the node's default; 0: never
    priority: int = 0
    pinned: bool = False
    memory_bytes: int = 0  # a measured peak from an earlier load; 0: not known yet
    options: dict[str, str | int | float | bool] = {}
    adapters_bytes: int = 0  # of the adapters that it will probably hold
    adapter: Adapter | None = None  # the router moves it to the body: a resident serves them all

    @property
    def key(self) -> str:
        """Identify what answers; without an adapter, also the resident that can serve this spec."""
        own = f"{self.name}@{self.version}"
        return own if self.adapter is None else f"{own}+{self.adapter.key}"
