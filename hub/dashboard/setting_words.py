"""What each setting of a model is called, and what it costs and brings."""

from typing import TYPE_CHECKING, NamedTuple

from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise


class Words(NamedTuple):
    title: "_StrPromise"
    effect: "_StrPromise"


OF = {
    "priority": Words(
        _("Priority"), _("Whoever has less leaves the memory first; -1000 to 1000.")
    ),
    "idle_unload_s": Words(
        _("Idle time in seconds"),
        _("It is unloaded after so long without a request; 0: never by itself."),
    ),
    "max_queue": Words(
        _("Longest queue"),
        _("More waiting requests are refused with 429, so that nobody waits in vain."),
    ),
    "max_concurrency": Words(
        _("Requests at once"),
        _("More share the same time and need more memory for their KV cache."),
    ),
    "replicas": Words(
        _("Replicas"),
        _(
            "So many engines answer side by side, each on a GPU of its own; each takes the memory again."
        ),
    ),
    "context_tokens": Words(
        _("Context in tokens"),
        _("Longer conversations fit, and need more memory for the KV cache. What is set here is set "
          "aside in full, or the model is not loaded; else it takes an eighth of its device at most."),
    ),
    "dtype": Words(
        _("Number format"),
        _("float32 is exact and takes twice the memory of the 16-bit formats."),
    ),
    "device": Words(_("Device"), _("Where it is loaded; auto takes a GPU where there is one.")),
    "options.quantization": Words(
        _("Weights in memory"),
        _("int8 takes about half of 16 bits, nf4 about a quarter; embeddings stay. SmolLM2-135M on a "
          "CPU, beside 16 bits: int8 has 0.61 of the weights' memory, 0.99 of the perplexity and 1.10 "
          "of the speed (0.73 at 8 requests at once); nf4 has 0.41 of the memory, 1.25 of the "
          "perplexity (worse answers) and 0.50 of the speed; not measured on a GPU by us yet."),
    ),
    "options.attention": Words(
        _("Attention"),
        _("auto is the fastest that is exact here; eager is for comparison; flash_attention_2 needs "
          "CUDA, and is not measured on a GPU by us yet."),
    ),
    "options.torch_compile": Words(
        _("Compile"),
        _("For CUDA; the first answers take minutes; not measured on a GPU by us yet."),
    ),
    "options.prefix_cache_bytes": Words(
        _("Kept prompts in bytes"),
        _("Beginnings that come again are not computed again; more memory keeps more of them."),
    ),
    "options.kv_type": Words(
        _("Keys and values"), _("q8_0 takes half the memory of f16, for a little accuracy.")
    ),
    "options.kv_tokens": Words(
        _("Tokens of all requests"),
        _("So many tokens may all running requests hold together; more needs more memory."),
    ),
    "options.batch_tokens": Words(
        _("Tokens at once"), _("Larger batches are faster and need more memory while they run.")
    ),
    "options.beam_size": Words(
        _("Beams"), _("More beams hear a little better and take longer; 1 is the fastest.")
    ),
    "options.max_audio_s": Words(
        _("Longest recording in seconds"), _("Longer ones are refused before they are heard.")
    ),
    "options.upstream_model": Words(
        _("Name of the model there"), _("What the other server is asked for.")
    ),
    "options.connect_timeout_s": Words(
        _("Seconds to connect"), _("A server that is not reached in this time is given up.")
    ),
    "options.first_byte_timeout_s": Words(
        _("Seconds to the first byte"),
        _("A server that says nothing for so long is given up, and a route goes on."),
    ),
    "options.tensor_parallel_size": Words(
        _("GPUs per layer"), _("Each layer is spread over so many GPUs of this machine.")
    ),
    "options.pipeline_parallel_size": Words(
        _("GPUs in a row"), _("The layers are spread over so many GPUs, one after the other.")
    ),
    "options.max_num_seqs": Words(
        _("Sequences in a batch"), _("More at once is more throughput and slower single answers.")
    ),
    "options.kv_cache_bytes": Words(
        _("KV cache in bytes"), _("Set aside when it is loaded; more holds more conversations.")
    ),
    "options.enforce_eager": Words(
        _("Without CUDA graphs"), _("It loads faster and takes less memory, and answers slower.")
    ),
    "options.enable_sleep_mode": Words(
        _("Sleep instead of unloading"),
        _(
            "On a GPU: its weights wait in main memory while that has room, and come back in a moment;"
            " not measured on a GPU by us yet."
        ),
    ),
    "options.max_loras": Words(
        _("Adapters at once"),
        _("So many LoRA adapters answer side by side; 0: adapters are merged with their base."),
    ),
    "options.max_lora_rank": Words(
        _("Largest rank of an adapter"), _("Each adapter takes memory as if it had this rank.")
    ),
}  # fmt: skip
