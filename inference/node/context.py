"""How much context a model is planned with, and what its keys and values take. Pure; used by `memory`.

What an operator asked for is planned in full, or nothing is loaded. What nobody asked for takes a share of
the device at most, so that other models have room beside it.
"""

from dataclasses import dataclass

from inference import wire

GIB = 1024**3
USUAL_CONTEXT_TOKENS = 4096  # of a model that does not name its own
KV_REQUESTS = 8  # running requests that the KV memory is planned for
KV_REQUEST_TOKENS = 2048  # of each of them
DEVICE_SHARE = 1 / 8  # of what a device has, where no context was asked for: docs/decisions.md
TOKEN_ENGINES = frozenset({"llm_transformers", "vlm_transformers"})
COPIES = 2  # of a prompt in TOKEN_ENGINES: as it is computed, and in its row of the table
GRAIN_TOKENS = 256  # that llm_gguf keeps free, and rounds to. Source: engines/llama_lanes.py


@dataclass(frozen=True, slots=True)
class Context:
    """Of one request the most tokens, and the bytes that are planned for requests and adapters.

    Without `token_bytes` it keeps no keys and values, or nobody knows how many.
    """

    tokens: int = 0
    is_asked: bool = False  # by an operator
    token_bytes: int = 0
    copies: int = 1
    grain_tokens: int = 0
    adapters_bytes: int = 0
    kv_bytes: int = 0  # all of it, with the adapters'
    kv_min_bytes: int = 0  # to which it may shrink

    def held(self, kv_bytes: int) -> int:
        """Give the tokens that one request may have in so much memory; 0: not known."""
        if not self.token_bytes:
            return 0
        room = (kv_bytes - self.adapters_bytes) // self.token_bytes
        return max(1, min(self.tokens, room // self.copies - self.grain_tokens))


NO_CONTEXT = Context()


def plan(spec: wire.ModelSpec, own_tokens: int, token_bytes: int, limit_bytes: int = 0) -> Context:
    """Plan one full context, or KV_REQUEST_TOKENS for each of some requests, whichever is more.

    `limit_bytes` is what its devices have; 0: not known.
    """
    own = own_tokens or USUAL_CONTEXT_TOKENS
    tokens = min(spec.context_tokens or own, own)
    copies = COPIES if spec.engine in TOKEN_ENGINES else 1
    grain = GRAIN_TOKENS if spec.engine == "llm_gguf" else 0
    usual = min(tokens, KV_REQUEST_TOKENS)
    one, short = ((n + grain) * copies * token_bytes for n in (tokens, usual))
    many = min(spec.max_concurrency, KV_REQUESTS) * usual * token_bytes
    least = one if spec.whole_context else short
    planned = max(one, many)
    if limit_bytes and not spec.whole_context:
        planned = min(planned, max(least, int(limit_bytes * DEVICE_SHARE)))
    adapters_bytes = spec.adapters_bytes
    if spec.engine == "llm_vllm":  # it counts whole GiB on a CPU, and adapters apart
        planned, least, adapters_bytes = max(GIB, planned), max(GIB, least), 0
    return Context(
        tokens=tokens,
        is_asked=spec.whole_context,
        token_bytes=token_bytes,
        copies=copies,
        grain_tokens=grain,
        adapters_bytes=adapters_bytes,
        kv_bytes=planned + adapters_bytes,
        kv_min_bytes=least + adapters_bytes,
    )
