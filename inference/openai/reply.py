"""What every text answer carries: its head, its usage, its token log probabilities."""

import hashlib
import secrets
import time
from collections.abc import Iterable

import msgspec

from inference import wire


class Head(msgspec.Struct, frozen=True):
    """Constant over one answer. `model` is the name of the model that really answers."""

    id: str
    created: int  # unix time
    model: str
    fingerprint: str


def head(prefix: str, model: str, spec_key: str) -> Head:
    digest = hashlib.sha256(spec_key.encode()).hexdigest()[:10]
    return Head(f"{prefix}-{secrets.token_hex(14)}", int(time.time()), model, f"fp_{digest}")


class PromptDetails(msgspec.Struct):
    cached_tokens: int = 0
    audio_tokens: int = 0


class CompletionDetails(msgspec.Struct):
    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails
    completion_tokens_details: CompletionDetails


def usage(parts: Iterable[wire.Usage]) -> Usage:
    """Add up what the engines counted, one part per prompt."""
    prompt = completion = cached = 0
    for part in parts:
        prompt += part.prompt_tokens
        completion += part.completion_tokens
        cached += part.cached_tokens
    details = PromptDetails(cached_tokens=cached)
    return Usage(prompt, completion, prompt + completion, details, CompletionDetails())


class TopLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class Logprobs(msgspec.Struct):
    content: list[TokenLogprob]
    refusal: None = None


# OpenAI writes -9999.0 where a probability is zero; JSON has no infinity.
LOWEST_LOGPROB = -9999.0


def bounded(logprob: float | None) -> float:
    return LOWEST_LOGPROB if logprob is None else max(logprob, LOWEST_LOGPROB)


def chat_logprobs(tokens: list[wire.TokenLogprob]) -> Logprobs:
    return Logprobs([_token(token) for token in tokens])


def _token(token: wire.TokenLogprob) -> TokenLogprob:
    tops = [TopLogprob(top.token, bounded(top.logprob), list(top.raw)) for top in token.top]
    return TokenLogprob(token.token, bounded(token.logprob), list(token.raw), tops)
