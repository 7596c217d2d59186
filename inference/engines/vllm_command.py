"""How vLLM is started: its options, command line and environment. No process is started here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from inference import wire
from inference.engines.base import Setting
from inference.errors import LoadFailed

GIB = 1024**3
HOST_BYTES = 2_400 * 1024**2  # of the server's processes before weights. Source: measured
MARGIN = 1.05  # of the weights, as for every engine
Parallel = Annotated[int, msgspec.Meta(ge=1, le=64)]
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_HOME")
KEPT_CUDA = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES")
FIXED = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the node gives threads, not cores
    "TOKENIZERS_PARALLELISM": "false",
}


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `spec.options` may say."""

    tensor_parallel_size: Parallel = 1
    pipeline_parallel_size: Parallel = 1
    max_num_seqs: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 64
    kv_cache_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**50)] = 0  # 0: what the node leaves
    enforce_eager: bool = False
    enable_sleep_mode: bool = False
    max_loras: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0  # at once in a batch; 0: none at all
    max_lora_rank: Literal["8", "16", "32", "64", "128", "256"] = "16"

    @classmethod
    def of(cls, spec: wire.ModelSpec) -> "Options":
        """Raises: LoadFailed naming the option."""
        try:
            return msgspec.convert(spec.options, cls)
        except msgspec.ValidationError as error:
            raise LoadFailed(f"{spec.name}: options: {error}") from error


def command(
    python: str, spec: wire.ModelSpec, options: Options, port: int, setting: Setting
) -> list[str]:
    words = [python, "-m", "vllm.entrypoints.openai.api_server", "--model", spec.path]
    words += ["--served-model-name", spec.name, "--host", "127.0.0.1", "--port", str(port)]
    words += ["--dtype", spec.dtype, "--max-num-seqs", str(options.max_num_seqs)]
    words += ["--tensor-parallel-size", str(options.tensor_parallel_size)]
    words += ["--pipeline-parallel-size", str(options.pipeline_parallel_size)]
    words += ["--generation-config", "vllm"]  # a request says what it wants; no hidden defaults
    if spec.context_tokens:
        words += ["--max-model-len", str(spec.context_tokens)]
    if options.enforce_eager:
        words.append("--enforce-eager")
    if may_sleep(options, setting):
        words.append("--enable-sleep-mode")
    if options.max_loras:
        words += ["--enable-lora", "--max-loras", str(options.max_loras)]
        words += ["--max-lora-rank", options.max_lora_rank]
    if setting.device.startswith("cuda") and (size := kv_bytes(spec, options, setting)):
        words += ["--kv-cache-memory-bytes", str(size)]
    return words


def may_sleep(options: Options, setting: Setting) -> bool:
    """The server asks for no key where it is put to sleep: only who has its loopback alone may use that.

    Source: vLLM's `entrypoints/serve/sleep`; its key guards /v1. CUDA only: its CPU build cannot sleep.
    """
    return options.enable_sleep_mode and setting.is_alone and setting.device.startswith("cuda")


def environment(
    given: Mapping[str, str], spec: wire.ModelSpec, options: Options, setting: Setting, key: str
) -> dict[str, str]:
    """Give the child's whole environment: an allow-list, as engines have it themselves."""
    kept = {name: given[name] for name in (*KEPT, *KEPT_CUDA) if name in given}
    kept |= FIXED | {"VLLM_API_KEY": key, "OMP_NUM_THREADS": str(setting.threads)}
    if options.max_loras:
        kept["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"  # on loopback, behind a key of its own
    if may_sleep(options, setting):
        kept["VLLM_SERVER_DEV_MODE"] = "1"
    if setting.devices:
        kept["CUDA_VISIBLE_DEVICES"] = visible(setting.devices, given)
    if not setting.device.startswith("cuda"):
        gib = max(1, kv_bytes(spec, options, setting) // GIB)
        kept |= {"VLLM_CPU_KVCACHE_SPACE": str(gib), "VLLM_CPU_NUM_OF_RESERVED_CPU": "0"}
    return kept


def visible(devices: Sequence[str], given: Mapping[str, str]) -> str:
    """Name the GPUs for the driver: the node counts those that it sees itself."""
    numbers = [int(device.removeprefix("cuda:")) for device in devices]
    own = [
        name.strip() for name in given.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()
    ]
    return ",".join(own[number] if own else str(number) for number in numbers)


def kv_bytes(spec: wire.ModelSpec, options: Options, setting: Setting) -> int:
    """Give what is left of the allowance for keys and values; 0: the server decides."""
    if options.kv_cache_bytes or not setting.memory_bytes:
        return options.kv_cache_bytes
    if setting.kv_bytes:
        return setting.kv_bytes
    weights = sum(file.stat().st_size for file in Path(spec.path).glob("*.safetensors"))
    return max(0, setting.memory_bytes - HOST_BYTES - int(weights * MARGIN))
