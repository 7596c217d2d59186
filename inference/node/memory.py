"""What a model will take: a formula from its files' headers, then the truth as it was measured.

`placements` is asked once per spec, by `placing`. A process counts as if it were alone on the machine: those
with whom it shares pages may leave.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from inference import wire
from inference.errors import LoadFailed
from inference.node import context
from inference.node.context import NO_CONTEXT, TOKEN_ENGINES, Context
from inference.node.devices import Device, computes_bf16
from inference.node.headers import Shape, UnreadableModel, read
from inference.node.peaks import Peaks
from inference.node.placement import Placement
from inference.node.spread import Group, groups, width
from inference.node.steps import ANSWER_ROWS, NO_STEP, PICTURE_PIXELS, PROMPT_TOKENS, Step

MB = 1024 * 1024
GIB = 1024 * MB
BASES_BYTES = {
    # What a process takes with its libraries, before its model, where none was measured here yet.
    # Source: measured with nothing shared, docs/decisions.md of 2026-11-25.
    "fake": 30 * MB,
    "remote_openai": 90 * MB,
    "llm_gguf": 60 * MB,
    "asr_whisper": 88 * MB,
    "embed_text": 387 * MB,
    "embed_clip": 395 * MB,
    "llm_transformers": 402 * MB,
    "vlm_transformers": 420 * MB,
    "llm_vllm": 2_400 * MB,
}
BASE_BYTES = 500 * MB
LIBRARY_BYTES = {"nf4": 90 * MB}  # that only this mode loads, and what it unpacks
TOKEN_BYTES = {  # of a tokenizer, for each entry of its vocabulary
    "llm_gguf": 1_000,
    "asr_whisper": 460,
    "embed_text": 500,
    "embed_clip": 1_450,
    "llm_transformers": 1_450,
    "vlm_transformers": 1_450,
}
SLEEPING = frozenset({"llm_vllm"})  # engines that can, with `enable_sleep_mode`, on a GPU
WITHOUT_FILES = frozenset({"fake", "remote_openai"})
CUDA_HOST_FLOOR_BYTES = 1_500 * MB  # libraries, context and pinned buffers in main memory
CUDA_FLOOR_BYTES = 600 * MB  # context and kernels on the device
CUDA_STEP_BYTES = 200 * MB
CUDA_MARGIN = 1.05  # of the weights: allocators round up
ACTIVATIONS_BYTES = 200 * MB  # no picture takes more while it is decoded; vLLM's own work
PICTURE_BYTES = 120 * MB  # the largest photograph, in three colours, while it is decoded
STEP_BYTES = 32 * MB  # threads, allocators, what a step of a small model computes with
ENCODED_TOKENS = 1_024  # that embed_text computes at once; a longer text is computed alone
ENCODED_BYTES = 24  # four copies in float32, and what glibc keeps: twice the largest that was freed
WINDOWED_ENCODERS = frozenset({"modernbert"})  # every text is given masks of its length squared:
MASK_BYTES = 16  # differences of positions and their absolute values, in 64 bits
LOOP_BYTES = 20 * MB  # of the batching loop, beside that
TABLES_SHARE = (
    0.3  # of keys and values: a table that grows is held twice, and the allocator keeps some
)
FAMILY_BYTES = {"mixtral": 95 * MB, "gemma2": 70 * MB}  # kernels that only they make use of
SPEECH_FRAMES, SPEECH_HEAD = (
    1_500,
    64,
)  # Source: Whisper, section 2: of half a minute, and of a head
PIECES_BYTES = 20 * MB  # of eight recordings, each with a minute of its spectrogram
SPEECH_SCORES_BYTES = 2 * 4 * SPEECH_FRAMES**2  # of a head: attention before and after its softmax
SEEING = frozenset({"vlm_transformers", "embed_clip"})
ELEMENT_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
QUANTIZED_SHARES = {"int8": 0.51, "nf4": 0.27}  # of 16-bit weights, scales included
PACKED_WHILE_READ = frozenset({"llama", "mistral", "qwen2", "qwen3"})  # others are read whole first
KV_SHARES = {"q8_0": 17 / 32}  # of 16 bits: 34 bytes for 32 numbers


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes on the model's own device; the KV part may shrink down to `kv_min_bytes`.

    `fixed_bytes` are all but keys and values; of these, `step` is taken only while it computes.
    """

    fixed_bytes: int
    kv_bytes: int
    kv_min_bytes: int
    weights_bytes: int
    step: Step = NO_STEP
    context: Context = NO_CONTEXT

    @property
    def bytes(self) -> int:
        return self.fixed_bytes + self.kv_bytes


def placements(spec: wire.ModelSpec, devices: Sequence[Device], peaks: Peaks) -> list[Placement]:
    """List where the model may go, the preferred device first. Reads file headers: call in a thread.

    Raises: LoadFailed if its files cannot be read or its device is not there: a route goes on.
    """
    shape = _shape(spec)
    return [_placement(spec, shape, group, peaks) for group in _groups(spec, devices)]


def need(
    spec: wire.ModelSpec,
    shape: Shape,
    *,
    cuda: bool,
    base_bytes: int = 0,
    over: int = 1,
    limit_bytes: int = 0,
) -> Need:
    """Formula: process + weights + vocabulary + work of a step + KV per token x planned tokens.

    `base_bytes` is the process without its model as it was measured; 0: as it usually is. `over` GPUs
    share weights, keys and values: what is given is the part of each. Keys and values shrink to what a
    device with `limit_bytes` has room for, and with them the work that grows with them; 0: no limit.
    """
    planned = _context(spec, shape, limit_bytes * over, cuda=cuda)
    kv_bytes, least = (-(-size // over) for size in (planned.kv_bytes, planned.kv_min_bytes))
    found = _need(spec, shape, planned, kv_bytes, base_bytes, over, cuda=cuda)
    too_much = found.bytes - limit_bytes
    if not limit_bytes or too_much <= 0:
        return found
    per_byte = 1 + found.step.tables / max(1, kv_bytes - spec.adapters_bytes)
    kept = max(least, kv_bytes - math.ceil(too_much / per_byte))
    return _need(spec, shape, planned, kept, base_bytes, over, cuda=cuda)


def _need(
    spec: wire.ModelSpec,
    shape: Shape,
    planned: Context,
    kv_bytes: int,
    base_bytes: int,
    over: int,
    *,
    cuda: bool,
) -> Need:
    """Do as `need` for so much of what is planned for keys and values."""
    if cuda:
        model = int(_kept_bytes(spec, shape, cuda=True) * CUDA_MARGIN) // over
        base, step = CUDA_FLOOR_BYTES, Step(CUDA_STEP_BYTES)
    else:
        model, step = (
            _model_bytes(spec, shape),
            _step(spec, shape, kv_bytes - spec.adapters_bytes),
        )
        more = LIBRARY_BYTES.get(str(spec.options.get("quantization")), 0)
        base = base_bytes or BASES_BYTES.get(spec.engine, BASE_BYTES) + more
    return Need(
        fixed_bytes=base + model + step.bytes,
        kv_bytes=kv_bytes,
        kv_min_bytes=-(-planned.kv_min_bytes // over),
        weights_bytes=shape.weights_bytes,
        step=step,
        context=planned,
    )


def _model_bytes(spec: wire.ModelSpec, shape: Shape) -> int:
    """Give what a model adds to a process in main memory, before it computes."""
    if spec.engine == "fake":
        return int(spec.options.get("memory_bytes", 0))
    tokenizer = TOKEN_BYTES.get(spec.engine, 0) * shape.vocab_tokens
    return _kept_bytes(spec, shape, cuda=False) + tokenizer


def _step(spec: wire.ModelSpec, shape: Shape, kv_bytes: int) -> Step:
    """Give what is taken only while it computes. Source of the figures: measured, docs/decisions.md."""
    if spec.engine in WITHOUT_FILES:
        return Step()
    if spec.engine == "llm_vllm":
        return Step(ACTIVATIONS_BYTES)
    if spec.engine == "asr_whisper":
        scores = shape.width // SPEECH_HEAD * SPEECH_SCORES_BYTES or shape.weights_bytes
        loop = STEP_BYTES // 2 + PIECES_BYTES
        return Step(loop, prompts=scores, full=wire.Worked(prompt_tokens=SPEECH_FRAMES))
    if spec.engine == "embed_text":
        return _encoding(spec, shape)
    pictures = PICTURE_BYTES if spec.engine in SEEING or spec.projector else 0
    if spec.engine not in TOKEN_ENGINES:
        return Step(STEP_BYTES, pictures=pictures)
    return Step(
        STEP_BYTES + LOOP_BYTES + FAMILY_BYTES.get(shape.family, 0),
        prompts=PROMPT_TOKENS * shape.width * 8,
        rows=ANSWER_ROWS * shape.vocab_tokens * 8,
        tables=int(kv_bytes * TABLES_SHARE),
        pictures=pictures,
        full=_full(spec, kv_bytes, pictures),
    )


def _encoding(spec: wire.ModelSpec, shape: Shape) -> Step:
    """Give the work of the longest text that is taken, or of as many short ones as go together."""
    own = shape.context_tokens or ENCODED_TOKENS
    tokens = max(ENCODED_TOKENS, min(spec.context_tokens or own, own))
    return Step(
        STEP_BYTES // 2,
        prompts=tokens * shape.width * ENCODED_BYTES,
        masks=tokens**2 * MASK_BYTES if shape.family in WINDOWED_ENCODERS else 0,
        full=wire.Worked(prompt_tokens=tokens),
    )


def _full(spec: wire.ModelSpec, kv_bytes: int, pictures: int) -> wire.Worked:
    """Give what a batching loop does at most at once, as it is planned."""
    return wire.Worked(
        kv_bytes=kv_bytes,
        rows=min(ANSWER_ROWS, spec.max_concurrency),
        prompt_tokens=PROMPT_TOKENS,
        pixels=PICTURE_PIXELS if pictures else 0,
    )


def _context(spec: wire.ModelSpec, shape: Shape, limit_bytes: int, *, cuda: bool) -> Context:
    token_bytes = int(shape.kv_token_bytes * KV_SHARES.get(str(spec.options.get("kv_type")), 1.0))
    if spec.engine in TOKEN_ENGINES:
        token_bytes = token_bytes * (element_bytes(spec, cuda=cuda) or 2) // 2
    return context.plan(spec, shape.context_tokens, token_bytes, limit_bytes)


def element_bytes(spec: wire.ModelSpec, *, cuda: bool) -> int:
    """Give the size of a number that the engine computes with; 0: that of the file."""
    if spec.engine == "asr_whisper":
        return _speech_element_bytes(spec, cuda=cuda)
    if spec.engine not in TOKEN_ENGINES | SEEING | {"embed_text"}:
        return 0
    if spec.dtype in ELEMENT_BYTES:
        return ELEMENT_BYTES[spec.dtype]
    if spec.engine in TOKEN_ENGINES:
        return 2 if cuda or computes_bf16() else 4
    return 4 if spec.engine == "embed_clip" else 0


def _speech_element_bytes(spec: wire.ModelSpec, *, cuda: bool) -> int:
    """Source: CTranslate2, quantization: a CPU computes 16 bits in 32."""
    kind = ("float16" if cuda else "int8") if spec.dtype == "auto" else spec.dtype
    if kind.startswith("int8"):
        return 1
    return 2 if cuda and kind != "float32" else 4


def _kept_bytes(spec: wire.ModelSpec, shape: Shape, *, cuda: bool) -> int:
    """Give the most that is held of the weights while and after they are quantized."""
    whole = shape.weights_as(element_bytes(spec, cuda=cuda))
    share = QUANTIZED_SHARES.get(str(spec.options.get("quantization")))
    can = shape.family in PACKED_WHILE_READ and spec.engine in TOKEN_ENGINES
    if not can or share is None:
        return whole
    plain = shape.plain_bytes / max(1, shape.weights_bytes)
    return int(plain * whole + (1 - plain) * share * shape.weights_as(2))


def settled(
    placement: Placement, loaded: wire.Loaded, measured: Mapping[str, int]
) -> dict[str, int]:
    """Reconcile a claim with the truth after a load.

    What the engine may still grow into stays reserved: the rest of its keys and values and the work
    of a step, where it says how much it holds, else everything that it was allowed.
    """
    if loaded.device == "cpu" and placement.device != "cpu":  # its library has no GPU build
        return {"cpu": max(loaded.memory_bytes, measured.get("cpu", 0), placement.allowance_bytes)}
    claim = {}
    for device, planned in placement.claim.items():
        seen = measured.get(device, 0)
        if device == placement.device:
            seen = max(seen, loaded.memory_bytes)
            claim[device] = max(seen, _grown(placement, loaded, seen, planned))
        else:
            claim[device] = max(seen, planned)
    return claim


def _grown(placement: Placement, loaded: wire.Loaded, seen: int, planned: int) -> int:
    tells = loaded.kv_limit_bytes or not placement.kv_bytes
    if not placement.weights_bytes or not seen or not tells or placement.measured:
        return planned
    return seen + max(0, loaded.kv_limit_bytes - loaded.kv_bytes) + placement.step_bytes


def learnt(
    placement: Placement, loaded: wire.Loaded, held: int, worked: wire.Worked
) -> tuple[int, int]:
    """Give what was needed beside keys and values, and how much of that is guessed.

    `held` is the most that was held while it worked so much. What it was not asked for yet is guessed:
    by the formula, and never more than that says for a whole step after the load.
    """
    limit = loaded.kv_limit_bytes or placement.kv_bytes
    if placement.device != "cpu" or not worked.prompt_tokens:
        return held - limit, placement.step_bytes
    left = placement.step.left(worked)
    return held - min(limit, max(worked.kv_bytes, loaded.kv_bytes)) + left, left


def base_of(placement: Placement, loaded: wire.Loaded) -> int:
    """Give what a process took without its model, by its size after the load; 0: cannot be told."""
    if placement.device != "cpu" or loaded.device != "cpu" or not placement.weights_bytes:
        return 0
    return max(0, loaded.memory_bytes - loaded.kv_bytes - placement.model_bytes)


def variant(spec: wire.ModelSpec, family: str) -> str:
    """Name what decides which libraries an engine has in memory."""
    own = "open_clip" if family == "open_clip" else str(spec.options.get("quantization", ""))
    return f"{spec.engine}/{own}"


def _placement(spec: wire.ModelSpec, shape: Shape, group: Group, peaks: Peaks) -> Placement:
    device = min(group, key=lambda gpu: gpu.limit_bytes)
    cuda = device.name.startswith("cuda")
    kind = variant(spec, shape.family)
    base_bytes = peaks.base(kind, device.name)
    wanted = need(
        spec,
        shape,
        cuda=cuda,
        base_bytes=base_bytes,
        over=len(group),
        limit_bytes=device.limit_bytes,
    )
    known = peaks.get(spec, device.name)
    fixed = known or wanted.fixed_bytes
    kv = max(wanted.kv_min_bytes, min(device.limit_bytes - fixed, wanted.kv_bytes))
    claim = {one.name: max(fixed + kv, spec.memory_bytes // len(group)) for one in group}
    if cuda:
        claim["cpu"] = CUDA_HOST_FLOOR_BYTES * len(group)
    return Placement(
        device.name,
        claim,
        wanted.weights_bytes,
        allowance_bytes=fixed + kv,
        kv_bytes=kv,
        kv_min_bytes=wanted.kv_min_bytes,
        step=wanted.step,
        context=wanted.context,
        model_bytes=0 if cuda else _model_bytes(spec, shape),
        usual_bytes=wanted.fixed_bytes,
        variant=kind,
        measured=known > 0,
        asleep=_asleep(spec, shape, group) if cuda else {},
    )


def _asleep(spec: wire.ModelSpec, shape: Shape, group: Group) -> dict[str, int]:
    """Its weights move to main memory; a context with its kernels stays on each GPU."""
    if spec.engine not in SLEEPING or spec.options.get("enable_sleep_mode") is not True:
        return {}
    stays = dict.fromkeys((gpu.name for gpu in group), CUDA_FLOOR_BYTES)
    return {**stays, "cpu": int(shape.weights_bytes * CUDA_MARGIN)}


def _groups(spec: wire.ModelSpec, devices: Sequence[Device]) -> list[Group]:
    gpus = sorted(
        (d for d in devices if d.name.startswith("cuda")), key=lambda d: -d.available_bytes
    )
    if spec.device == "cpu" or (spec.device == "auto" and not gpus):
        width(spec)
        return [(d,) for d in devices if d.name == "cpu"]
    found = [g for g in gpus if spec.device in {"auto", "cuda", g.name}]
    if not found:
        names = ", ".join(d.name for d in devices)
        raise LoadFailed(f"{spec.name} asks for {spec.device}; this node has {names}")
    return groups(spec, found)


def _shape(spec: wire.ModelSpec) -> Shape:
    if spec.engine in WITHOUT_FILES:
        return Shape(0)
    if not spec.path or not Path(spec.path).exists():
        raise LoadFailed(f"the files of {spec.name} are not there: {spec.path or 'no path'}")
    try:
        shape = read(spec.path)
        if spec.projector:
            more_bytes = Path(spec.projector).stat().st_size
            shape = replace(shape, weights_bytes=shape.weights_bytes + more_bytes)
        return shape
    except (UnreadableModel, OSError) as error:
        raise LoadFailed(f"{spec.name} cannot be loaded: {error}") from error
