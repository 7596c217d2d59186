"""What node and engine say to each other."""

import msgspec

from inference.wire.bodies import Body
from inference.wire.specs import Message, ModelSpec


class Start(Message, frozen=True):
    """First frame on an engine's socket: load this; answered by `Loaded` or `Failure`."""

    spec: ModelSpec
    threads: int
    memory_bytes: int = 0  # what the engine may take; 0: no limit
    kv_bytes: int = 0  # of it, for keys and values; 0: the engine decides
    devices: list[str] = []  # the GPUs that it has, and no others


class Run(Message, frozen=True):
    """The stream number of the frame names the request from here on."""

    body: Body


class Sleep(Message, frozen=True):
    """Give the GPU back and keep the weights in main memory; answered by `Asleep` or `Failure`.

    Sent only to an engine whose `Loaded` says that it can, and when nothing runs in it.
    """


class Asleep(Message, frozen=True):
    """It sleeps: until `Wake` it takes no requests."""


class Wake(Message, frozen=True):
    """Take the GPU again; answered by `Loaded` or `Failure`."""


class Cancel(Message, frozen=True):
    """Stop the stream within one step and answer it with a last `Done`."""


class Worked(msgspec.Struct, kw_only=True, omit_defaults=True, frozen=True):
    """The most that was done at once since the load; all 0: the engine does not tell."""

    kv_bytes: int = 0
    rows: int = 0  # answers in a step
    prompt_tokens: int = 0  # of prompts in a step
    pixels: int = 0  # of a picture


class Stats(Message, frozen=True):
    """Sent by an engine on stream 0 about twice a second while busy, and once when it goes idle."""

    running: int = 0
    waiting: int = 0
    memory_bytes: int = 0
    kv_bytes: int = 0
    steps_total: int = 0
    prompt_tokens_total: int = 0
    completion_tokens_total: int = 0
    cached_tokens_total: int = 0
    cancelled_total: int = 0
    adapters: list[str] = []  # attached now
    adapters_bytes: int = 0
    worked: Worked = Worked()


class LoadProgress(Message, frozen=True):
    loaded_bytes: int
    total_bytes: int
