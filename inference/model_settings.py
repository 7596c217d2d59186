"""What an operator may set for one model, with ranges; the same names as in the spec.

`changes.change` validates against it; `specs.of` puts the result into the spec.
"""

from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta

from inference.errors import InvalidValue, UnknownParameter

Count = Annotated[int, Meta(ge=1, le=4096)]
Bytes = Annotated[int, Meta(ge=1, le=2**50)]
SOFT = frozenset({"pinned", "priority", "idle_unload_s", "max_queue", "replicas"})


class Settings(msgspec.Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """None: the default. `SOFT` ones take effect at once, the others by a reload at the next request."""

    pinned: bool | None = None
    priority: Annotated[int, Meta(ge=-1000, le=1000)] | None = None
    idle_unload_s: Annotated[float, Meta(ge=0, le=10**9)] | None = None
    context_tokens: Annotated[int, Meta(ge=16, le=2**24)] | None = None
    dtype: Literal["auto", "float32", "float16", "bfloat16"] | None = None
    device: Annotated[str, Meta(pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$")] | None = None
    max_concurrency: Count | None = None
    max_queue: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    replicas: Annotated[int, Meta(ge=1, le=16)] | None = None
    options: dict[str, str | int | float | bool] | None = None


class _None(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    pass


class _Gguf(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    kv_tokens: Annotated[int, Meta(ge=256, le=2**24)] | None = None
    kv_type: Literal["f16", "q8_0"] | None = None


class _Vision(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    prefix_cache_bytes: Annotated[int, Meta(ge=0, le=2**50)] | None = None


class _Transformers(_Vision, omit_defaults=True, forbid_unknown_fields=True):
    quantization: Literal["none", "int8", "nf4"] | None = None
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] | None = None
    torch_compile: bool | None = None


class _Embed(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    batch_tokens: Annotated[int, Meta(ge=16, le=2**20)] | None = None


class _Whisper(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    beam_size: Annotated[int, Meta(ge=1, le=10)] | None = None
    max_audio_s: Annotated[float, Meta(ge=1, le=86_400)] | None = None


class _Remote(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    upstream_model: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    connect_timeout_s: Annotated[float, Meta(ge=0.1, le=120)] | None = None
    first_byte_timeout_s: Annotated[float, Meta(ge=0.1, le=3600)] | None = None


class _Vllm(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    tensor_parallel_size: Annotated[int, Meta(ge=1, le=64)] | None = None
    pipeline_parallel_size: Annotated[int, Meta(ge=1, le=64)] | None = None
    max_num_seqs: Count | None = None
    kv_cache_bytes: Annotated[int, Meta(ge=0, le=2**50)] | None = None
    enforce_eager: bool | None = None
    enable_sleep_mode: bool | None = None
    max_loras: Annotated[int, Meta(ge=0, le=64)] | None = None
    max_lora_rank: Literal["8", "16", "32", "64", "128", "256"] | None = None


OPTIONS: dict[str, type[msgspec.Struct]] = {
    "llm_gguf": _Gguf,
    "llm_transformers": _Transformers,
    "vlm_transformers": _Vision,
    "llm_vllm": _Vllm,
    "asr_whisper": _Whisper,
    "embed_text": _Embed,
    "embed_clip": _Embed,
    "remote_openai": _Remote,
}
FREE = frozenset({"fake"})  # the tests' engine reads whatever it is given


def hard(settings: dict[str, Any]) -> dict[str, Any]:
    """Give the settings that an engine is loaded with: a change of them is a new version."""
    return {name: value for name, value in settings.items() if name not in SOFT}


def changed(old: dict[str, Any], patch: dict[str, Any], engine: str) -> dict[str, Any]:
    """Lay a patch over settings; null forgets one. Raises: UnknownParameter, InvalidValue."""
    merged = {**old, **patch}
    if "options" in patch and patch["options"] is not None:
        options = {**old.get("options", {}), **patch["options"]}
        merged["options"] = {key: value for key, value in options.items() if value is not None}
    wanted = _convert({k: v for k, v in merged.items() if v is not None}, Settings, "")
    if wanted.options and engine not in FREE:
        _convert(wanted.options, OPTIONS.get(engine, _None), "options.")
    found: dict[str, Any] = msgspec.to_builtins(wanted)
    return found


def check_context(settings: dict[str, Any], own_tokens: int) -> None:
    """Refuse more context than the model has; 0: that is not known. Raises: InvalidValue."""
    if own_tokens and settings.get("context_tokens", 0) > own_tokens:
        raise InvalidValue(
            f"the model has a context of {own_tokens} tokens", param="context_tokens"
        )


def _convert(values: dict[str, Any], kind: type[Any], prefix: str) -> Any:
    known = {field.name for field in msgspec.structs.fields(kind)}
    for name in values:
        if name not in known:
            shown = f"{prefix}{name[:100]}"
            offered = ", ".join(sorted(known)) or "none for this engine"
            raise UnknownParameter(f"unknown setting `{shown}`; known: {offered}", param=shown)
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        place = prefix + where.rstrip("`").partition("[")[0]
        raise InvalidValue(
            f"{place}: {what}{_choices(kind, place)}", param=place or None
        ) from error


def _choices(kind: type[Any], place: str) -> str:
    """Name what a field takes, where that is a short list."""
    hint = get_type_hints(kind).get(place.rpartition(".")[2])
    found = [name for part in get_args(hint) for name in get_args(part) if isinstance(name, str)]
    return f"; choose one of {', '.join(found)}" if found else ""
